# SPDX-License-Identifier: Apache-2.0
"""A DICOM CT series as one volume: slices in the order of their position, checked, with the geometry that DICOM states.

Arrays are indexed (column i, row j, slice k); affines lead from there to the patient's coordinates in mm as DICOM has
them: x to the left, y to posterior, z to superior (LPS).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.ct_pixels import in_hounsfield_units, require_pixels
from ctan_networks.radiotherapy.dicom.ct_slices import CTSlice, one_direction, slices_of
from ctan_networks.radiotherapy.dicom.elements import number, numbers, pixels, read_known, text
from ctan_networks.reading import check_geometry, check_voxels

__all__ = ["CTSeries", "make_series", "refuse_strays", "stack_direction"]

logger = logging.getLogger(__name__)

# Slices of one series may differ by the rounding of their positions, not by a part of a slice.
GAP_TOLERANCE_MM = 0.1
# Rows and columns within some two degrees of the patient's axes count as axial.
AXIAL_TOLERANCE = 0.04
# Rounded directions are not quite of length one.
UNIT_TOLERANCE = 0.01
# What places a slice, and how many numbers each has.
GEOMETRY = {"Rows": 1, "Columns": 1, "PixelSpacing": 2, "ImageOrientationPatient": 6, "ImagePositionPatient": 3}


@dataclass(frozen=True, eq=False)
class CTSeries:
    """One CT series, without its pixels.

    Attributes:
        files: of the slices, lowest position along the normal (for an axial series: most inferior) first.
        headers: of the slices in the same order, without pixels; see :py:class:`CTSlice`.
        affine: ``[4, 4]`` float64, from (column i, row j, slice k) to LPS coordinates in mm.
        shape: number of columns, rows and slices.
        frames: of the slices their numbers in a multi-frame file, from 1; empty for a series of single-frame images.

    """

    files: tuple[Path, ...]
    headers: tuple[pydicom.Dataset, ...]
    affine: np.ndarray
    shape: tuple[int, int, int]
    frames: tuple[int, ...] = ()

    @property
    def uid(self) -> str:
        """SeriesInstanceUID."""
        return text(self.files[0], self.headers[0], "SeriesInstanceUID")

    @property
    def frame_of_reference(self) -> str:
        """FrameOfReferenceUID; empty when the slices have none."""
        return text(self.files[0], self.headers[0], "FrameOfReferenceUID")

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm along columns, rows and slices."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    def volume(self) -> np.ndarray:
        """The CT in HU, ``[i, j, k]`` float32.

        Raises:
            DataError: when pixels are missing, damaged, not in HU, or compressed in a way that cannot be read here.

        """
        out = np.empty(self.shape, dtype=np.float32)
        columns, rows, _ = self.shape
        slices: dict[Path, list[int]] = {}
        for k, file in enumerate(self.files):
            slices.setdefault(file, []).append(k)
        for file, members in slices.items():
            data = read_known(file, pixels=True)
            require_pixels([file], [data])
            frames = int(number(file, data, "NumberOfFrames") or 1)
            stored = pixels(file, data, (rows, columns) if frames == 1 else (frames, rows, columns))
            stored = stored.reshape(frames, rows, columns)
            for k in members:
                frame = self.frames[k] - 1 if self.frames else 0
                out[:, :, k] = in_hounsfield_units(file, self.headers[k], stored[frame]).T
        return out


def make_series(where: str | Path, files: Sequence[Path], headers: Sequence[pydicom.Dataset]) -> CTSeries:
    """Order the slices of a series by position, and check that they make up one even volume.

    Args:
        where: what errors name, such as the folder.
        files: of the slices.
        headers: of the slices, in the same order.

    Raises:
        DataError: when slices lack their geometry, differ in it, are tilted, missing or double.

    """
    every = [s for file, header in zip(files, headers, strict=True) for s in slices_of(file, header)]
    slices, across, _ = one_direction(every)
    if len(across) > len(slices) // 4:
        raise DataError(f"{where}: slices of one series lie across each other. Give one axial series.")
    if len(slices) < 2:
        raise DataError(f"{where}: a single CT slice: a volume needs a series of them.")
    if len({s.frame is None for s in slices}) > 1:
        raise DataError(f"{where}: single-frame and multi-frame images in one CT series. Export the series again.")
    geometry: dict[str, list[tuple[float, ...]]] = {name: [] for name in GEOMETRY}
    for file, header, _frame in slices:
        lacking = []
        for name, count in GEOMETRY.items():
            values = numbers(file, header, name, count)
            if values is None:
                lacking.append(name)
            else:
                geometry[name].append(tuple(values.tolist()))
        if lacking:
            raise DataError(f"{file}: the CT slice lacks {', '.join(lacking)}. Export the series again.")
    for name in ("Rows", "Columns", "PixelSpacing"):
        different = sorted({" x ".join(f"{v:g}" for v in values) for values in geometry[name]})
        if len(set(geometry[name])) > 1:
            raise DataError(
                f"{where}: slices of one series differ in {name}: {', '.join(different[:4])}. Export the whole series"
                " with one pixel grid."
            )
    shape = (int(geometry["Columns"][0][0]), int(geometry["Rows"][0][0]), len(slices))
    check_voxels(where, shape)
    turns = np.array(geometry["ImageOrientationPatient"])
    row, column = np.split(turns[0], 2)
    if not np.allclose([row @ row, column @ column, row @ column], [1, 1, 0], atol=UNIT_TOLERANCE):
        raise DataError(
            f"{slices[0].file}: ImageOrientationPatient {turns[0].tolist()} is no two directions at a right"
            " angle. Export the series again."
        )
    normal = np.cross(row, column)
    points = np.array(geometry["ImagePositionPatient"])
    order = np.argsort(points @ normal, kind="stable")
    steps = np.diff(points[order], axis=0)
    heights = steps @ normal
    usual = float(np.median(heights))
    turned = not np.allclose(turns, turns[0], atol=1e-3)
    if turned or np.abs(steps - heights[:, None] * normal).max() > GAP_TOLERANCE_MM:
        raise DataError(f"{where}: the slices are not parallel and in line. Give one axial series without gantry tilt.")
    if usual < GAP_TOLERANCE_MM or np.abs(heights - usual).max() > GAP_TOLERANCE_MM:
        raise DataError(
            f"{where}: the {len(slices)} CT slices lie {heights.min():.2f} to {heights.max():.2f} mm apart: some are"
            " missing or double. Export the whole series again, or resample it to even slices."
        )
    if across:
        logger.info("%d images across the %d slices of the CT are ignored as scouts", len(across), len(slices))
    # PixelSpacing: between rows first, between columns second.
    between_rows, between_columns = geometry["PixelSpacing"][0]
    if min(between_rows, between_columns) <= 0:
        raise DataError(f"{where}: PixelSpacing is {between_rows:g} x {between_columns:g} mm. Export the series again.")
    affine = np.eye(4)
    affine[:3, 0] = row * between_columns
    affine[:3, 1] = column * between_rows
    affine[:3, 2] = (points[order[-1]] - points[order[0]]) / (len(slices) - 1)
    affine[:3, 3] = points[order[0]]
    check_geometry(where, affine, shape)
    series = CTSeries(
        files=tuple(Path(slices[k].file) for k in order),
        headers=tuple(slices[k].header for k in order),
        affine=affine,
        shape=shape,
        frames=tuple(slices[k].frame or 0 for k in order if slices[k].frame is not None),
    )
    refuse_strays(series, across)
    return series


def refuse_strays(series: CTSeries, others: Iterable[CTSlice]) -> None:
    """Refuse images that are taken for scouts or the like, but begin where the next slice of a series would.

    Args:
        series: the series.
        others: the images.

    Raises:
        DataError: names the file.

    """
    normal = series.affine[:3, 2] / np.linalg.norm(series.affine[:3, 2])
    last = (series.shape[2] - 1) * series.spacing[2] + GAP_TOLERANCE_MM
    for file, header, _frame in others:
        place = numbers(file, header, "ImagePositionPatient", 3)
        offset = np.zeros(3) if place is None else place - series.affine[:3, 3]
        height = offset @ normal
        if np.abs(offset - height * normal).max() < GAP_TOLERANCE_MM and not -GAP_TOLERANCE_MM <= height <= last:
            raise DataError(
                f"{file}: the image continues a CT series, but its orientation or SeriesInstanceUID is another one."
                " Export the series again."
            )


def stack_direction(files: Sequence[Path], headers: Sequence[pydicom.Dataset]) -> np.ndarray | None:
    """Unit vector (LPS) along which the images of a series are stacked; None when they make up no volume.

    Raises:
        DataError: when a header is damaged.

    """
    return one_direction([s for file, header in zip(files, headers, strict=True) for s in slices_of(file, header)])[2]


def is_axial(series: CTSeries) -> bool:
    """Whether rows and columns run along the patient's axes, as contours of an RTSTRUCT need."""
    directions = series.affine[:3, :3] / np.linalg.norm(series.affine[:3, :3], axis=0)
    return bool(
        abs(abs(directions[2, 2]) - 1) < AXIAL_TOLERANCE**2 and np.abs(directions[2, :2]).max() < AXIAL_TOLERANCE
    )
