# SPDX-License-Identifier: Apache-2.0
"""The CT that results refer to when they become DICOM, and whether they belong to it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from monai.data import ImageReader

from ctan_networks.data.nifti import read_nifti
from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.ct_series import CTSeries
from ctan_networks.radiotherapy.dicom.patient_folder import read_ct, scan_folder
from ctan_networks.radiotherapy.dicom.write import TEXT
from ctan_networks.radiotherapy.dicom.write_ct import write_ct_series
from ctan_networks.radiotherapy.image_mark import SERIES, VOXELS, is_marked, series_content, voxel_content

__all__ = ["ReferenceCT", "on_grid"]

logger = logging.getLogger(__name__)

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
DERIVED = "RESEARCH ONLY, CT derived from a file without DICOM header"
# Affines of two files of one grid differ by rounding: part of a voxel.
SAME_GRID = 1e-2


@dataclass(frozen=True, eq=False)
class ReferenceCT:
    """A CT series in DICOM, or a volume of another form.

    Attributes:
        path: what it was read from.
        series: the series; None of another form.
        volume: a volume of another form in HU, with columns to the left, rows to posterior and slices to superior.

    """

    path: Path
    series: CTSeries | None
    volume: nib.Nifti1Image | None

    @classmethod
    def read(cls, ct: str | os.PathLike, reader: ImageReader | None = None) -> ReferenceCT:
        """Read a folder of a patient or a CT series in DICOM, or a volume of another form (NIfTI, OpenKBP, ...).

        Args:
            ct: its path.
            reader: reads a volume that is not DICOM; None: NIfTI alone is read.

        Raises:
            DataError: when it cannot be read.

        """
        path = Path(ct)
        objects = scan_folder(path) if path.is_dir() else None
        if objects is not None and objects.ct:
            return cls(path, read_ct(objects), None)
        array, meta = reader.get_data(reader.read(path)) if reader else read_nifti(path)
        volume = nib.Nifti1Image(np.asarray(array, dtype=np.float32), np.asarray(meta["affine"], dtype=np.float64))
        # As scanners have it.
        lps = nib.orientations.axcodes2ornt("LPS")
        turned = volume.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(volume.affine), lps))
        return cls(path, None, turned)

    @property
    def affine(self) -> np.ndarray:
        """``[4, 4]``, from indices (column, row, slice) to LPS coordinates in mm."""
        return self.series.affine if self.series is not None else RAS_TO_LPS @ self.volume.affine  # type: ignore[union-attr]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of columns, rows and slices."""
        return self.series.shape if self.series is not None else tuple(self.volume.shape)  # type: ignore[union-attr]

    def hu(self) -> np.ndarray:
        """The CT in HU, ``[column, row, slice]``."""
        if self.series is not None:
            return self.series.volume()
        return self.volume.get_fdata(dtype=np.float32)  # type: ignore[union-attr]

    def require_origin(self, what: str | os.PathLike, origin: Mapping[str, Any] | None) -> None:
        """Refuse results that were predicted on another image.

        Args:
            what: the results, for the error.
            origin: marks of the image that they were predicted on, see :py:mod:`ctan_networks.radiotherapy.image_mark`;
                empty: not known, which is logged.

        Raises:
            DataError: when the image is another one.

        """
        stated = origin or {}
        if SERIES in stated:
            if self.series is None:
                raise DataError(
                    f"{what}: these results were predicted on a DICOM series, and {self.path} is none. Give the folder"
                    " that was predicted on."
                )
            same = is_marked(series_content(self.series.uid), stated[SERIES])
        elif VOXELS in stated:
            same = is_marked(voxel_content(self.hu(), RAS_TO_LPS @ self.affine), stated[VOXELS])
        else:
            logger.warning("%s do not say which image they were predicted on: make sure that it is this CT", what)
            return
        if not same:
            raise DataError(
                f"{what}: these results were predicted on another image than {self.path}. Give the one that was"
                " predicted on, or predict on this one."
            )

    def as_series(self, output_dir: str | os.PathLike, patient_id: str | None = None) -> CTSeries:
        """The series; a volume of another form is written as one, with new UIDs.

        Args:
            output_dir: a series that must be written goes to its sub-folder ``CT``.
            patient_id: PatientID and PatientName of a series that must be written; None: "ANONYMOUS". Give each patient
                another: systems take what has the same PatientID for one patient.

        """
        if self.series is not None:
            return self.series
        logger.info("%s is no DICOM: a CT series with new UIDs is written", self.path.name)
        return write_ct_series(
            Path(output_dir) / "CT",
            self.hu(),
            self.affine,
            name=(patient_id or "Anonymous")[:TEXT],
            patient_id=(patient_id or "ANONYMOUS")[:TEXT],
            series_description=DERIVED,
        )


def on_grid(
    what: str | os.PathLike, array: np.ndarray, affine_ras: np.ndarray, ct: ReferenceCT | CTSeries
) -> np.ndarray:
    """A result in the order of a CT's indices.

    Args:
        what: the result, for the error.
        array: ``[a, b, c]``.
        affine_ras: ``[4, 4]``, from its indices to RAS coordinates, as NIfTI and MONAI have it.
        ct: the CT, whose voxels it must share; its axes may have another order or direction.

    Returns:
        ``[column, row, slice]``.

    Raises:
        DataError: when it lies on another grid.

    """
    matrix = np.linalg.inv(RAS_TO_LPS @ np.asarray(affine_ras, dtype=np.float64)) @ ct.affine
    turn = np.round(matrix[:3, :3])
    last = np.array(ct.shape) - 1
    corners = np.array([[i, j, k, 1] for i in (0, last[0]) for j in (0, last[1]) for k in (0, last[2])]).T
    placed = (matrix @ corners)[:3]
    turned = array
    if np.array_equal(np.abs(turn).sum(axis=0), np.ones(3)) and np.array_equal(np.abs(turn).sum(axis=1), np.ones(3)):
        order = [int(np.flatnonzero(turn[:, axis])[0]) for axis in range(3)]
        flipped = tuple(axis for axis in range(3) if turn[order[axis], axis] < 0)
        turned = np.flip(np.transpose(array, order), flipped)
        start = [array.shape[order[axis]] - 1.0 if axis in flipped else 0.0 for axis in range(3)]
        expected = np.zeros((3, 1))
        expected[order, 0] = start
        if turned.shape == tuple(ct.shape) and np.abs(placed - turn @ corners[:3] - expected).max() < SAME_GRID:
            return np.ascontiguousarray(turned)
    raise DataError(
        f"{what} does not lie on the CT's grid: {_grid(array.shape, affine_ras)}, and the CT"
        f" {_grid(ct.shape, ct.affine)}. Give the CT that was predicted on."
    )


def _grid(shape: tuple[int, ...], affine: np.ndarray) -> str:
    spacing = np.linalg.norm(np.asarray(affine, dtype=np.float64)[:3, :3], axis=0)
    return f"{' x '.join(map(str, shape))} voxels of {' x '.join(f'{s:.3g}' for s in spacing)} mm"
