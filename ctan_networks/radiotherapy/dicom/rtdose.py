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

__all__ = ["DoseGrid", "read_dose", "resample_dose", "sum_doses"]

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
    if text(file, data, "DoseType") == "ERROR":
        raise DataError(f"{file}: a map of dose errors (DoseType ERROR), no dose. Export the plan's dose.")
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


def resample_dose(grid: DoseGrid, affine: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The dose on another grid, trilinear; 0 outside the dose grid.

    Args:
        grid: the dose.
        affine: ``[4, 4]``, from the other grid's indices to LPS coordinates.
        shape: the other grid's.

    Returns:
        Gy, float32 ``[*shape]``.

    """
    inverse = np.linalg.inv(grid.affine)
    matrix, shift = inverse[:3, :3] @ affine[:3, :3], inverse[:3, :3] @ affine[:3, 3] + inverse[:3, 3]
    step = np.linalg.norm(grid.affine[:3, 2])
    last = np.array(grid.dose.shape)[:, None] - 1.0
    frames = np.arange(len(grid.offsets), dtype=np.float64)
    out = np.empty(shape, dtype=np.float32)
    i, j = np.meshgrid(*(np.arange(n, dtype=np.float64) for n in shape[:2]), indexing="ij")
    # Slice by slice, so that the table of coordinates stays small.
    for k in range(shape[2]):
        points = matrix @ np.stack([i.ravel(), j.ravel(), np.full(i.size, float(k))]) + shift[:, None]
        if not grid.is_even:
            height = points[2] * step
            inside = np.clip(height, 0, grid.offsets[-1])
            height = np.where(np.abs(height - inside) < EDGE * step, inside, height)
            points[2] = np.interp(height, grid.offsets, frames, left=-1, right=len(frames))
        # What rounding puts a hair outside of the grid's first or last voxel is on it.
        on_edge = np.clip(points, 0, last)
        points = np.where(np.abs(points - on_edge) < EDGE, on_edge, points)
        out[:, :, k] = ndimage.map_coordinates(grid.dose, points, order=1, cval=0.0).reshape(i.shape)
    return out


def sum_doses(grids: Sequence[DoseGrid]) -> DoseGrid:
    """Add doses, such as one a beam, on the grid of the first.

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
            total += resample_dose(grid, first.affine, first.dose.shape)  # type: ignore[arg-type]
        else:
            raise DataError("doses to be summed have different grids, and uneven frames. Export the plan's total dose.")
    return DoseGrid(total.astype(np.float32), first.affine, first.offsets, first.frame_of_reference)
