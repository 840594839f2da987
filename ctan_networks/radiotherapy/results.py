# SPDX-License-Identifier: Apache-2.0
"""Predicted structures and dose as DICOM: RTSTRUCT, SEG and RTDOSE on the CT's grid, and the plan that a dose needs."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from monai.data import ImageReader
from scipy import ndimage

from ctan_networks.data.nifti import read_nifti
from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.ct_series import CTSeries
from ctan_networks.radiotherapy.dicom.elements import read_dicom, text, without_comment
from ctan_networks.radiotherapy.dicom.patient_folder import read_ct, scan_folder
from ctan_networks.radiotherapy.dicom.write import TEXT
from ctan_networks.radiotherapy.dicom.write_ct import write_ct_series
from ctan_networks.radiotherapy.dicom.write_rtdose import write_rtdose
from ctan_networks.radiotherapy.dicom.write_rtplan import write_rtplan
from ctan_networks.radiotherapy.dicom.write_rtstruct import write_rtstruct
from ctan_networks.radiotherapy.dicom.write_seg import require_highdicom, write_seg

__all__ = ["export_dicom", "reference_series", "to_series_grid"]

logger = logging.getLogger(__name__)

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
DERIVED = "RESEARCH ONLY, CT derived from a file without DICOM header"


def reference_series(
    ct: str | os.PathLike,
    output_dir: str | os.PathLike,
    patient_id: str | None = None,
    reader: ImageReader | None = None,
) -> tuple[CTSeries, pydicom.Dataset | None]:
    """The CT series that results refer to, and the plan that lies with it.

    Args:
        ct: folder of a patient or a CT series in DICOM; or a volume of another form (NIfTI, OpenKBP, ...), from which
            a series with new UIDs is then written.
        output_dir: a series that must be written goes to its sub-folder ``CT``.
        patient_id: PatientID and PatientName of a series that must be written; None: "ANONYMOUS". Give each patient
            another: systems take what has the same PatientID for one patient.
        reader: reads a volume that is not DICOM; None: NIfTI alone is read.

    Returns:
        The series; and the RTPLAN in the folder, if there is exactly one in the series' frame of reference.

    Raises:
        DataError: when the CT cannot be read.

    """
    path = Path(ct)
    objects = scan_folder(path) if path.is_dir() else None
    if objects is not None and objects.ct:
        series = read_ct(objects)
        plans = [read_dicom(file) for file in objects.plans]
        own = [
            plan
            for file, plan in zip(objects.plans, plans, strict=True)
            if text(file, plan, "FrameOfReferenceUID") in ("", series.frame_of_reference)
        ]
        return series, own[0] if len(own) == 1 else None
    array, meta = reader.get_data(reader.read(path)) if reader else read_nifti(path)
    volume = nib.Nifti1Image(np.asarray(array, dtype=np.float32), np.asarray(meta["affine"], dtype=np.float64))
    # Columns to the left, rows to posterior, slices to superior, as scanners have it.
    lps = nib.orientations.axcodes2ornt("LPS")
    turned = volume.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(volume.affine), lps))
    logger.info("%s is no DICOM: a CT series with new UIDs is written", path.name)
    series = write_ct_series(
        Path(output_dir) / "CT",
        turned.get_fdata(dtype=np.float32),
        RAS_TO_LPS @ turned.affine,
        name=(patient_id or "Anonymous")[:TEXT],
        patient_id=(patient_id or "ANONYMOUS")[:TEXT],
        series_description=DERIVED,
    )
    return series, None


def to_series_grid(array: np.ndarray, affine_ras: np.ndarray, series: CTSeries, order: int) -> np.ndarray:
    """A volume on the grid of a CT series.

    Args:
        array: ``[a, b, c]``.
        affine_ras: ``[4, 4]``, from its indices to RAS coordinates, as NIfTI and MONAI have it.
        series: the series.
        order: 0: nearest neighbour, for masks; 1: trilinear. Where the grids share their voxels, nothing is computed.

    Returns:
        ``[i, j, k]`` in the order of the series' indices; 0 where the volume does not reach.

    """
    matrix = np.linalg.inv(RAS_TO_LPS @ np.asarray(affine_ras, dtype=np.float64)) @ series.affine
    rounded = np.round(matrix)
    last = np.array(series.shape) - 1
    corners = np.array([[i, j, k, 1] for i in (0, last[0]) for j in (0, last[1]) for k in (0, last[2])]).T
    if np.abs((matrix - rounded) @ corners).max() < 1e-2:
        matrix = rounded
    return ndimage.affine_transform(
        np.asarray(array, dtype=np.float32), matrix[:3, :3], matrix[:3, 3], output_shape=series.shape, order=order
    )


@without_comment()
def export_dicom(
    ct: CTSeries | str | os.PathLike,
    output_dir: str | os.PathLike,
    *,
    masks: Mapping[str, np.ndarray] | None = None,
    dose: np.ndarray | None = None,
    plan: pydicom.Dataset | None = None,
    prescription: float | None = None,
    patient_id: str | None = None,
    seg: bool = True,
) -> dict[str, Path]:
    """Write structures and dose of one case.

    All of it refers to the CT series, its study and its frame of reference, is unapproved and says RESEARCH ONLY. The
    dose refers to the given plan, or the one in the CT's folder; without one, to a minimal plan that is written too.

    Args:
        ct: the CT series, or what :py:func:`reference_series` takes.
        output_dir: the files go there: ``RTSTRUCT.dcm``, ``SEG.dcm``, ``RTDOSE.dcm``, ``RTPLAN.dcm``, ``CT/``.
        masks: structure name to mask ``[i, j, k]`` on the CT's grid.
        dose: Gy, ``[i, j, k]`` on the CT's grid; values below 0 are set to 0.
        plan: the RTPLAN that the dose belongs to.
        prescription: Gy, for the minimal plan.
        patient_id: of the CT series that is written where ``ct`` is not DICOM; see :py:func:`reference_series`.
        seg: write ``SEG.dcm`` too (needs highdicom).

    Returns:
        "RTSTRUCT", "SEG", "RTDOSE" and "RTPLAN" to the files that were written.

    Raises:
        DataError: when there is nothing to write, or it is not on the CT's grid.

    """
    if not masks and dose is None:
        raise DataError("nothing to export: give structures, a dose, or both.")
    if masks and seg:
        require_highdicom()  # before anything is written
    out = Path(output_dir)
    if isinstance(ct, CTSeries):
        series = ct
    else:
        series, found = reference_series(ct, out, patient_id)
        plan = plan if plan is not None else found
    written: dict[str, Path] = {}
    structures = None
    if masks:
        written["RTSTRUCT"] = out / "RTSTRUCT.dcm"
        structures = write_rtstruct(written["RTSTRUCT"], masks, series)
        if seg and any(np.any(mask) for mask in masks.values()):
            written["SEG"] = write_seg(out / "SEG.dcm", masks, series)
    if dose is not None:
        if plan is None:
            written["RTPLAN"] = out / "RTPLAN.dcm"
            plan = write_rtplan(written["RTPLAN"], series, structures, prescription_gy=prescription)
        written["RTDOSE"] = out / "RTDOSE.dcm"
        write_rtdose(written["RTDOSE"], np.maximum(dose, 0), series, plan)
    return written
