# SPDX-License-Identifier: Apache-2.0
"""What a figure of a case needs, and no more: three slices in display orientation and the dose-volume histograms."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from nibabel import orientations

from ctan_networks.radiotherapy.metrics.dvh import dvh_curve

__all__ = ["DISPLAY_AXCODES", "PLANES", "CaseView", "make_view", "slice_plane", "to_display"]

# Index axes grow to the patient's left, posterior and inferior, so that every plane below is shown by a plain transpose
# with the first row on top: axial anterior up and patient's right on the left, coronal and sagittal superior up.
DISPLAY_AXCODES = "LPI"
# Plane: (axis of the display volume that is cut, axis of the rows, axis of the columns).
PLANES = {"axial": (2, 1, 0), "coronal": (1, 2, 0), "sagittal": (0, 2, 1)}
DVH_STEP_GY = 0.25
BODY_HU = -500.0
MARGIN_MM = 15.0


def to_display(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """View of a channel-first volume whose index axes follow :py:data:`DISPLAY_AXCODES`.

    Args:
        array: ``[channels, i, j, k]``.
        affine: ``[4, 4]``, voxel indices to RAS millimetres. An oblique volume is shown by the nearest permutation and
            flips of its axes, without resampling.

    Returns:
        ``[channels, left, posterior, inferior]``; shares memory with ``array``.
    """
    transform = orientations.ornt_transform(
        orientations.io_orientation(affine), orientations.axcodes2ornt(tuple(DISPLAY_AXCODES))
    )
    return np.moveaxis(orientations.apply_orientation(np.moveaxis(array, 0, -1), transform), -1, 0)


def display_spacing(affine: np.ndarray) -> np.ndarray:
    """Voxel size in mm along the axes of :py:data:`DISPLAY_AXCODES`."""
    size = np.empty(3)
    target = orientations.axcodes2ornt(tuple(DISPLAY_AXCODES))
    transform = orientations.ornt_transform(orientations.io_orientation(affine), target)
    size[transform[:, 0].astype(int)] = np.linalg.norm(affine[:3, :3], axis=0)
    return size


def slice_plane(volume: np.ndarray, plane: str, index: int) -> np.ndarray:
    """One slice ``[channels, rows, columns]`` of a volume in display orientation; row 0 is shown on top."""
    return volume.take(index, axis=PLANES[plane][0] + 1).swapaxes(1, 2)


@dataclass
class CaseView:
    """Slices and histograms of one case, small enough to keep for every case of a run.

    Attributes:
        spacing: voxel size in mm along left, posterior, inferior.
        slices: array ``[channels, rows, columns]`` by ``"<plane>/<key>"``; keys ``image``, ``reference_segmentation``,
            ``predicted_segmentation`` (boolean), ``reference_dose``, ``predicted_dose`` (Gy). What a case lacks is
            not there.
        dose_edges: Gy, of the histograms.
        curves: cumulative histogram ``[structures, edges]`` in percent of the volume by dose key; NaN rows for
            structures that are unknown or empty.
    """

    spacing: np.ndarray
    slices: dict[str, np.ndarray]
    dose_edges: np.ndarray
    curves: dict[str, np.ndarray]

    def save(self, path: str | os.PathLike) -> None:
        """Write the view to an ``.npz`` file."""
        slices = {f"slices/{k}": v for k, v in self.slices.items()}
        curves = {f"curves/{k}": v for k, v in self.curves.items()}
        np.savez(path, spacing=self.spacing, dose_edges=self.dose_edges, **slices, **curves)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | os.PathLike) -> CaseView:
        """Read a view that :py:meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        return cls(
            spacing=arrays["spacing"],
            slices={k.removeprefix("slices/"): v for k, v in arrays.items() if k.startswith("slices/")},
            dose_edges=arrays["dose_edges"],
            curves={k.removeprefix("curves/"): v for k, v in arrays.items() if k.startswith("curves/")},
        )


def make_view(volumes: Mapping[str, np.ndarray], affine: np.ndarray, structures: Sequence[str]) -> CaseView:
    """Cut slices through the target with the highest dose and compute the dose-volume histograms.

    Args:
        volumes: channel-first volumes on one grid; keys as in :py:class:`CaseView`, only ``image`` (HU) must be there.
            Unknown structures are NaN in ``reference_segmentation``.
        affine: ``[4, 4]``, voxel indices to RAS millimetres.
        structures: names of the channels of the segmentations.
    """
    spacing = display_spacing(affine)
    shown = {key: to_display(volume, affine) for key, volume in volumes.items()}
    center = focus(shown, structures)
    slices = {}
    for plane, (axis, rows, columns) in PLANES.items():
        box = body_box(slice_plane(shown["image"], plane, center[axis])[0], spacing[[rows, columns]])
        for key, volume in shown.items():
            cut = slice_plane(volume, plane, center[axis])[:, box[0], box[1]]
            slices[f"{plane}/{key}"] = cut > 0.5 if key.endswith("segmentation") else cut.astype(np.float32)
    edges, curves = histograms(volumes, len(structures))
    return CaseView(spacing, slices, edges, curves)


def focus(volumes: Mapping[str, np.ndarray], structures: Sequence[str]) -> tuple[int, int, int]:
    """Voxel where the planes cross: centre of mass of the target with the highest dose.

    Where no target is drawn it is the centre of mass of the highest doses, else of all structures, else the middle.
    """
    dose = volumes.get("reference_dose", volumes.get("predicted_dose"))
    masks = volumes.get("reference_segmentation", volumes.get("predicted_segmentation"))
    found: dict[float, np.ndarray] = {}
    everything: np.ndarray | None = None
    for name, mask in zip(structures, masks if masks is not None else [], strict=False):
        inside = mask > 0.5
        everything = inside if everything is None else everything | inside
        if name.upper().startswith("PTV") and inside.any():
            number = re.search(r"\d+", name)
            rank = np.nanmean(dose[0][inside]) if dose is not None else float(number.group() if number else 0)
            found[float(rank)] = inside
    if found:
        region = found[max(found)]
    elif dose is not None:
        region = dose[0] >= 0.95 * np.nanmax(dose)
    elif everything is not None and everything.any():
        region = everything
    else:
        region = np.ones(volumes["image"].shape[1:], bool)
    i, j, k = (round(float(c.mean())) for c in np.nonzero(region))
    return i, j, k


def body_box(image: np.ndarray, spacing: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of a slice round everything denser than air, so that figures are not mostly air."""
    body = image > BODY_HU
    box = []
    for axis, size in enumerate(spacing):
        (hit,) = np.nonzero(body.any(axis=1 - axis))
        margin = round(MARGIN_MM / size)
        box.append(slice(max(0, hit[0] - margin), hit[-1] + margin + 1) if hit.size else slice(None))
    return box[0], box[1]


def histograms(volumes: Mapping[str, np.ndarray], count: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Dose edges and cumulative histograms of the reference structures for each dose that is there."""
    doses = {key: volumes[key][0] for key in ("reference_dose", "predicted_dose") if key in volumes}
    masks = volumes.get("reference_segmentation")
    if not doses or masks is None:
        return np.empty(0), {}
    highest = max(float(np.nanmax(dose)) for dose in doses.values())
    edges = np.arange(0.0, highest + 2 * DVH_STEP_GY, DVH_STEP_GY)
    curves = {key: np.full((count, edges.size), np.nan) for key in doses}
    for s in range(count):
        inside = masks[s] > 0.5
        if inside.any():
            for key, dose in doses.items():
                curves[key][s] = 100 * dvh_curve(dose[inside], edges)
    return edges, curves
