# SPDX-License-Identifier: Apache-2.0
"""Dose grids of RTDOSE: from stored integers to Gy, summed over beams, and on another grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from scipy import ndimage

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.ct_series import UNIT_TOLERANCE
from ctan_networks.radiotherapy.dicom.elements import number, numbers, pixels, read_dicom, text
from ctan_networks.reading import check_finite, check_geometry, check_voxels

__all__ = ["DoseGrid", "dose_at", "known_part", "read_dose", "resample_dose", "sum_doses"]

# Frames count as evenly spaced when no gap differs from the others by more than this, in mm.
EVEN_MM = 0.01
# What places a dose, and how many numbers each has.
GEOMETRY = {
    "DoseGridScaling": 1,
    "Rows": 1,
    "Columns": 1,
    "PixelSpacing": 2,
    "ImagePositionPatient": 3,
    "ImageOrientationPatient": 6,
}
# What is not taken for the dose that a prescription is about (DoseType, DICOM PS3.3 C.8.8.3).
KINDS = {
    "EFFECTIVE": "a dose weighted by its biological effect (DoseType EFFECTIVE)",
    "ERROR": "a map of dose errors (DoseType ERROR), no dose",
}
# Part of a voxel that counts as rounding.
EDGE = 1e-4


@dataclass(frozen=True, eq=False)
class DoseGrid:
    """A dose distribution with its geometry.

    Attributes:
        dose: Gy, float32 ``[i, j, k]`` (column, row, frame), frames ascending along the grid's normal.
        affine: ``[4, 4]``, from (i, j, k) to LPS coordinates in mm; its third column is exact for even frames, and the
            mean step for uneven ones.
        offsets: position of each frame along the normal in mm, ascending, the first being 0.
        frame_of_reference: FrameOfReferenceUID.

    """

    dose: np.ndarray
    affine: np.ndarray
    offsets: np.ndarray
    frame_of_reference: str

    @property
    def is_even(self) -> bool:
        """Whether all frames are the same distance apart."""
        steps = np.diff(self.offsets)
        return bool(len(steps) == 0 or np.ptp(steps) <= EVEN_MM)


def read_dose(file: Path, dataset: pydicom.Dataset | None = None) -> DoseGrid:
    """Read an RTDOSE (DICOM PS3.3 A.18.3).

    Args:
        file: the file.
        dataset: what it holds with its pixels, where it has been read already.

    Raises:
        DataError: when it is no dose in Gy, lacks its geometry, or is damaged.

    """
    data = dataset if dataset is not None else read_dicom(file)
    stated = {name: numbers(file, data, name, count) for name, count in GEOMETRY.items()}
    found = {name: values for name, values in stated.items() if values is not None}
    units = text(file, data, "DoseUnits")
    lacking = [name for name in GEOMETRY if name not in found] + ([] if units else ["DoseUnits"])
    if lacking or "PixelData" not in data:
        raise DataError(
            f"{file}: the dose lacks {', '.join(lacking) or 'its values'}. Export the RTDOSE again, with its dose grid."
        )
    if units != "GY":
        raise DataError(f"{file}: DoseUnits is {units[:40]!r}: a dose in Gy is needed. Export the absolute dose.")
    kind = text(file, data, "DoseType", "PHYSICAL")
    if kind != "PHYSICAL":
        what = KINDS.get(kind, f"no physical dose (DoseType {kind[:40]!r})")
        raise DataError(f"{file}: {what}. Export the plan's physical dose.")
    scaling, rows, columns = (float(found[name][0]) for name in ("DoseGridScaling", "Rows", "Columns"))
    if scaling <= 0:
        raise DataError(
            f"{file}: DoseGridScaling is {scaling:g}: a positive number is needed. Export the RTDOSE again."
        )
    # GridFrameOffsetVector is empty or absent in a dose of one frame.
    offset_vector = numbers(file, data, "GridFrameOffsetVector")
    frames = np.zeros(1) if offset_vector is None else offset_vector
    count = int(number(file, data, "NumberOfFrames") or 1)
    if len(frames) != count:
        raise DataError(f"{file}: {count} frames and {len(frames)} offsets of frames. Export the RTDOSE again.")
    check_voxels(file, (int(columns), int(rows), count))
    flat = (int(rows), int(columns))
    stored = pixels(file, data, flat if count == 1 else (count, *flat)).reshape(count, *flat)
    if stored.min() < 0:
        raise DataError(f"{file}: its smallest stored value is {stored.min()}: no dose is negative. Export it again.")
    row, column = np.split(found["ImageOrientationPatient"], 2)
    if not np.allclose([row @ row, column @ column, row @ column], [1, 1, 0], atol=UNIT_TOLERANCE):
        raise DataError(f"{file}: ImageOrientationPatient is no two directions at a right angle. Export it again.")
    normal = np.cross(row, column)
    position = found["ImagePositionPatient"]
    offsets = _relative(file, frames, position, normal)
    order = np.argsort(offsets)
    if len(offsets) > 1 and np.diff(offsets[order]).min() <= 0:
        raise DataError(f"{file}: two frames lie at the same place. Export the RTDOSE again.")
    with np.errstate(over="ignore"):
        dose = (stored[order].astype(np.float64) * scaling).astype(np.float32)
    check_finite(file, dose)
    between_rows, between_columns = found["PixelSpacing"].tolist()
    if min(between_rows, between_columns) <= 0:
        raise DataError(f"{file}: PixelSpacing is {between_rows:g} x {between_columns:g} mm. Export the RTDOSE again.")
    step = (offsets[order[-1]] - offsets[order[0]]) / (len(offsets) - 1) if len(offsets) > 1 else 1.0
    affine = np.eye(4)
    affine[:3, 0] = row * between_columns
    affine[:3, 1] = column * between_rows
    affine[:3, 2] = normal * step
    affine[:3, 3] = position + normal * offsets[order[0]]
    check_geometry(file, affine, (int(columns), int(rows), count))
    return DoseGrid(
        dose=np.ascontiguousarray(dose.transpose(2, 1, 0)),
        affine=affine,
        offsets=offsets[order] - offsets[order[0]],
        frame_of_reference=text(file, data, "FrameOfReferenceUID"),
    )


def _relative(file: Path, frames: np.ndarray, position: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Offsets of the frames from the first one along the normal (DICOM PS3.3 C.8.8.3.2).

    The vector holds distances from the first frame, and then begins with 0; or, for transverse frames, the frames' own
    z coordinates, and then begins with that of ImagePositionPatient.
    """
    if abs(frames[0]) < EVEN_MM:
        return frames
    if abs(abs(normal[2]) - 1) < 1e-3 and abs(frames[0] - position[2]) < 0.5:
        return (frames - position[2]) * np.sign(normal[2])
    raise DataError(
        f"{file}: GridFrameOffsetVector begins with {frames[0]:g}, which is neither 0 nor the z coordinate of the first"
        f" frame ({position[2]:g}). Export the RTDOSE again."
    )


def resample_dose(grid: DoseGrid, affine: np.ndarray, shape: tuple[int, int, int], outside: float = 0.0) -> np.ndarray:
    """The dose on another grid, trilinear.

    Args:
        grid: the dose.
        affine: ``[4, 4]``, from the other grid's indices to LPS coordinates.
        shape: the other grid's.
        outside: value where the dose grid does not reach, beyond the centres of its outer voxels. NaN: unknown, beyond
            the edges of its outer voxels, in whose outer halves the dose is that of their centres.

    Returns:
        Gy, float32 ``[*shape]``.

    """
    out = np.empty(shape, dtype=np.float32)
    i, j = np.meshgrid(*(np.arange(n, dtype=np.float64) for n in shape[:2]), indexing="ij")
    # Slice by slice, so that the table of coordinates stays small.
    for k in range(shape[2]):
        points = affine[:3, :3] @ np.stack([i.ravel(), j.ravel(), np.full(i.size, float(k))]) + affine[:3, 3:]
        out[:, :, k] = _dose_at(grid, points, outside).reshape(i.shape)
    return out


def dose_at(grid: DoseGrid, points: np.ndarray) -> np.ndarray:
    """The dose at some points, trilinear; NaN, which is unknown, where the dose grid does not reach.

    Args:
        grid: the dose.
        points: ``[N, 3]``, LPS coordinates in mm.

    Returns:
        Gy, float32 ``[N]``.

    """
    return _dose_at(grid, np.asarray(points, dtype=np.float64).T, np.nan)


def _dose_at(grid: DoseGrid, points: np.ndarray, outside: float) -> np.ndarray:
    """The dose at points ``[3, N]`` in LPS coordinates."""
    inverse = np.linalg.inv(grid.affine)
    index = inverse[:3, :3] @ points + inverse[:3, 3:]
    if not grid.is_even:
        height = index[2] * np.linalg.norm(grid.affine[:3, 2])
        inside = np.clip(height, 0, grid.offsets[-1])
        frame = np.interp(inside, grid.offsets, np.arange(len(grid.offsets), dtype=np.float64))
        # Beyond the first and last frame in units of the gap there.
        steps = np.diff(grid.offsets)
        index[2] = frame + (height - inside) / np.where(height < 0, steps[0], steps[-1])
    last = np.array(grid.dose.shape)[:, None] - 1.0
    on_grid = np.clip(index, 0, last)
    # What rounding puts a hair outside of the grid is on it.
    reach = 0.5 if np.isnan(outside) else 0.0
    known = (np.abs(index - on_grid) < reach + EDGE).all(axis=0)
    values = ndimage.map_coordinates(grid.dose, on_grid, order=1, mode="nearest")
    return np.where(known, values, np.float32(outside))


def sum_doses(grids: Sequence[DoseGrid]) -> DoseGrid:
    """Add doses, such as one a beam, on the grid of the first; NaN where one of the others does not reach.

    Raises:
        DataError: when there is none, or when they are in different frames of reference.

    """
    if not grids:
        raise DataError("no dose to sum.")
    first = grids[0]
    if len({grid.frame_of_reference for grid in grids}) > 1:
        raise DataError("doses to be summed lie in different frames of reference. Export the doses of one plan.")
    total = first.dose.astype(np.float64)
    for grid in grids[1:]:
        same = grid.dose.shape == first.dose.shape and np.allclose(grid.affine, first.affine, atol=1e-3)
        if same and np.allclose(grid.offsets, first.offsets, atol=1e-3):
            total += grid.dose
        elif first.is_even:
            total += resample_dose(grid, first.affine, first.dose.shape, outside=np.nan)  # type: ignore[arg-type]
        else:
            raise DataError("doses to be summed have different grids, and uneven frames. Export the plan's total dose.")
    return DoseGrid(total.astype(np.float32), first.affine, first.offsets, first.frame_of_reference)


def known_part(grid: DoseGrid) -> DoseGrid:
    """The box of a dose grid in which the dose is known, that is not NaN.

    Raises:
        DataError: when that is no box: grids that are turned against each other, or do not meet.

    """
    known = ~np.isnan(grid.dose)
    if known.all():
        return grid
    box = tuple(
        slice(hit[0], hit[-1] + 1) if hit.size else slice(0)
        for hit in (np.flatnonzero(known.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3))
    )
    if not known[box].all() or not known.any():
        raise DataError("the grids of the doses do not cover each other. Export the plan's total dose.")
    start = np.array([part.start for part in box], dtype=np.float64)
    affine = grid.affine.copy()
    offsets = grid.offsets[box[2]]
    normal = grid.affine[:3, 2] / np.linalg.norm(grid.affine[:3, 2])
    affine[:3, 3] += grid.affine[:3, :2] @ start[:2] + normal * offsets[0]
    if len(offsets) > 1:
        affine[:3, 2] = normal * (offsets[-1] - offsets[0]) / (len(offsets) - 1)
    return DoseGrid(np.ascontiguousarray(grid.dose[box]), affine, offsets - offsets[0], grid.frame_of_reference)
