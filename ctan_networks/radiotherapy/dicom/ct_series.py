# SPDX-License-Identifier: Apache-2.0
"""A DICOM CT series as one volume: slices in the order of their position, checked, with the geometry that DICOM states.

Arrays are indexed (column i, row j, slice k); affines lead from there to the patient's coordinates in mm as DICOM has
them: x to the left, y to posterior, z to superior (LPS).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.pixels import apply_rescale, get_decoder
from pydicom.uid import UID

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.elements import number, numbers, pixels, read_known, text
from ctan_networks.reading import check_geometry, check_voxels

__all__ = ["CTSeries", "make_series", "require_pixels"]

# Slices of one series may differ by the rounding of their positions, not by a part of a slice.
GAP_TOLERANCE_MM = 0.1
# Rows and columns within some two degrees of the patient's axes count as axial.
AXIAL_TOLERANCE = 0.04
# Rounded directions are not quite of length one.
UNIT_TOLERANCE = 0.01
MAX_SCALE = 1e6
# What places a slice, and how many numbers each has.
GEOMETRY = {"Rows": 1, "Columns": 1, "PixelSpacing": 2, "ImageOrientationPatient": 6, "ImagePositionPatient": 3}


@dataclass(frozen=True, eq=False)
class CTSeries:
    """One CT series, without its pixels.

    Attributes:
        files: of the slices, lowest position along the normal (for an axial series: most inferior) first.
        headers: of the slices in the same order, without pixels.
        affine: ``[4, 4]`` float64, from (column i, row j, slice k) to LPS coordinates in mm.
        shape: number of columns, rows and slices.

    """

    files: tuple[Path, ...]
    headers: tuple[pydicom.Dataset, ...]
    affine: np.ndarray
    shape: tuple[int, int, int]

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
            DataError: when pixels are missing, damaged, or compressed in a way that cannot be read here.

        """
        out = np.empty(self.shape, dtype=np.float32)
        columns, rows, _ = self.shape
        for k, file in enumerate(self.files):
            data = read_known(file, pixels=True)
            require_pixels([file], [data])
            _check_scale(file, data)
            out[:, :, k] = pixels(file, data, (rows, columns), apply_rescale).T
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
    if len(headers) < 2:
        raise DataError(f"{where}: a single CT slice: a volume needs a series of them.")
    geometry: dict[str, list[tuple[float, ...]]] = {name: [] for name in GEOMETRY}
    for file, header in zip(files, headers, strict=True):
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
    shape = (int(geometry["Columns"][0][0]), int(geometry["Rows"][0][0]), len(headers))
    check_voxels(where, shape)
    turns = np.array(geometry["ImageOrientationPatient"])
    row, column = np.split(turns[0], 2)
    if not np.allclose([row @ row, column @ column, row @ column], [1, 1, 0], atol=UNIT_TOLERANCE):
        raise DataError(
            f"{files[0]}: ImageOrientationPatient {turns[0].tolist()} is no two directions at a right angle. Export"
            " the series again."
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
            f"{where}: the {len(headers)} CT slices lie {heights.min():.2f} to {heights.max():.2f} mm apart: some are"
            " missing or double. Export the whole series again, or resample it to even slices."
        )
    # PixelSpacing: between rows first, between columns second.
    between_rows, between_columns = geometry["PixelSpacing"][0]
    if min(between_rows, between_columns) <= 0:
        raise DataError(f"{where}: PixelSpacing is {between_rows:g} x {between_columns:g} mm. Export the series again.")
    affine = np.eye(4)
    affine[:3, 0] = row * between_columns
    affine[:3, 1] = column * between_rows
    affine[:3, 2] = (points[order[-1]] - points[order[0]]) / (len(headers) - 1)
    affine[:3, 3] = points[order[0]]
    check_geometry(where, affine, shape)
    return CTSeries(
        files=tuple(Path(files[k]) for k in order),
        headers=tuple(headers[k] for k in order),
        affine=affine,
        shape=shape,
    )


def _check_scale(file: Path, data: pydicom.Dataset) -> None:
    """Pixels are whole numbers: with a scale that is no scanner's, and only then, HU are not finite."""
    slope, intercept = number(file, data, "RescaleSlope"), number(file, data, "RescaleIntercept")
    if slope == 0 or abs(slope or 0) > MAX_SCALE or abs(intercept or 0) > MAX_SCALE:
        raise DataError(
            f"{file}: RescaleSlope {slope} and RescaleIntercept {intercept} make no HU. Export the series again."
        )


def is_axial(series: CTSeries) -> bool:
    """Whether rows and columns run along the patient's axes, as contours of an RTSTRUCT need."""
    directions = series.affine[:3, :3] / np.linalg.norm(series.affine[:3, :3], axis=0)
    return bool(
        abs(abs(directions[2, 2]) - 1) < AXIAL_TOLERANCE**2 and np.abs(directions[2, :2]).max() < AXIAL_TOLERANCE
    )


def require_pixels(files: Iterable[Path], slices: Iterable[Any]) -> None:
    """Refuse a slice that is cut short, and a compression for which no decoder is installed.

    Raises:
        DataError: names the file and what to do.

    """
    pairs = list(zip(files, slices, strict=True))
    refuse_damaged([file for file, data in pairs if "PixelData" not in data])
    for file, data in pairs:
        if not text(file, data.file_meta, "TransferSyntaxUID"):
            raise DataError(f"{file} says no transfer syntax. Export the series again.")
    folder = pairs[0][0].parent
    for syntax in {UID(str(data.file_meta.TransferSyntaxUID)): None for _, data in pairs}:
        if not syntax.is_transfer_syntax:
            raise DataError(f"{pairs[0][0]}: {str(syntax)[:80]!r} is no transfer syntax. Export the series again.")
        if not syntax.is_compressed:
            continue
        try:
            available = get_decoder(syntax).is_available
        except NotImplementedError:
            raise DataError(
                f"{folder}: the compression {syntax.name!r} cannot be read. Export the series uncompressed."
            ) from None
        if not available:
            raise DataError(
                f"{folder}: the slices are compressed ({syntax.name}), and no decoder for that is installed."
                ' Install one (pip install "ctan-networks[dicom]"), or export the series uncompressed.'
            )


def refuse_damaged(files: Sequence[Path]) -> None:
    """Name the files that are cut short, if there are any.

    Raises:
        DataError: when there are.

    """
    if files:
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        raise DataError(
            f"{files[0]}{more}: cut short or damaged. Get the files again; what is no CT slice, take out of the folder."
        )
