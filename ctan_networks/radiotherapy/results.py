# SPDX-License-Identifier: Apache-2.0
"""Predicted structures and dose as DICOM: RTSTRUCT, SEG and RTDOSE on the CT's grid, and the plan that a dose needs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.ct_series import CTSeries
from ctan_networks.radiotherapy.dicom.elements import without_comment
from ctan_networks.radiotherapy.dicom.write_rtdose import write_rtdose
from ctan_networks.radiotherapy.dicom.write_rtplan import write_rtplan
from ctan_networks.radiotherapy.dicom.write_rtstruct import write_rtstruct
from ctan_networks.radiotherapy.dicom.write_seg import require_highdicom, write_seg
from ctan_networks.radiotherapy.reference_ct import ReferenceCT

__all__ = ["export_dicom"]


@without_comment()
def export_dicom(
    ct: CTSeries | str | os.PathLike,
    output_dir: str | os.PathLike,
    *,
    masks: Mapping[str, np.ndarray] | None = None,
    dose: np.ndarray | None = None,
    prescription: float | None = None,
    patient_id: str | None = None,
    seg: bool = True,
) -> dict[str, Path]:
    """Write structures and dose of one case.

    All of it refers to the CT series, its study and its frame of reference, is unapproved and says RESEARCH ONLY. The
    dose refers to an unapproved plan without beams that is written with it, never to a plan of the clinic.

    Args:
        ct: the CT series, or what :py:meth:`ctan_networks.radiotherapy.reference_ct.ReferenceCT.read` takes.
        output_dir: the files go there: ``RTSTRUCT.dcm``, ``SEG.dcm``, ``RTDOSE.dcm``, ``RTPLAN.dcm``, ``CT/``.
        masks: structure name to mask ``[i, j, k]`` on the CT's grid.
        dose: Gy, ``[i, j, k]`` on the CT's grid; values below 0 are set to 0.
        prescription: Gy, for the plan.
        patient_id: of the CT series that is written where ``ct`` is not DICOM; see
            :py:meth:`ctan_networks.radiotherapy.reference_ct.ReferenceCT.as_series`.
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
    series = ct if isinstance(ct, CTSeries) else ReferenceCT.read(ct).as_series(out, patient_id)
    written: dict[str, Path] = {}
    structures = None
    if masks:
        written["RTSTRUCT"] = out / "RTSTRUCT.dcm"
        structures = write_rtstruct(written["RTSTRUCT"], masks, series)
        if seg and any(np.any(mask) for mask in masks.values()):
            written["SEG"] = write_seg(out / "SEG.dcm", masks, series)
    if dose is not None:
        written["RTPLAN"] = out / "RTPLAN.dcm"
        plan = write_rtplan(written["RTPLAN"], series, structures, prescription_gy=prescription)
        written["RTDOSE"] = out / "RTDOSE.dcm"
        write_rtdose(written["RTDOSE"], np.maximum(dose, 0), series, plan)
    return written
