# SPDX-License-Identifier: Apache-2.0
"""The least RTPLAN that a dose can refer to."""

from __future__ import annotations

import math
import os

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import RTPlanStorage

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.ct_series import CTSeries
from ctan_networks.radiotherapy.dicom.write import RESEARCH_ONLY, base_dataset, decimal, new_uid, save

__all__ = ["write_rtplan"]


def write_rtplan(
    path: str | os.PathLike,
    reference: CTSeries,
    structure_set: Dataset | None,
    *,
    prescription_gy: float | None = None,
    description: str = RESEARCH_ONLY,
    uid_root: str | None = None,
    date: str | None = None,
) -> Dataset:
    """Write a plan without beams (DICOM PS3.3 A.20): an RTDOSE must refer to a plan, and there is none.

    Args:
        path: the file.
        reference: the CT series.
        structure_set: the RTSTRUCT that belongs to it; None: none (RTPlanGeometry is then TREATMENT_DEVICE).
        prescription_gy: prescribed dose of the target.
        description: SeriesDescription and RTPlanDescription.
        uid_root: UIDs are made from this text; None: random.
        date: "YYYYMMDDhhmmss" of the writing; None: now.

    Returns:
        What was written.

    Raises:
        DataError: when the prescription is not positive.

    """
    if prescription_gy is not None and not (math.isfinite(prescription_gy) and prescription_gy > 0):
        raise DataError(f"{path}: {prescription_gy} Gy is no prescription. Give a positive dose, or none.")
    uid = new_uid(*((uid_root + "rtplan",) if uid_root is not None else ()))
    data = base_dataset(RTPlanStorage, "RTPLAN", reference.headers[0], uid, description, date)
    data.RTPlanLabel = "RESEARCH"
    data.RTPlanName = "RESEARCH ONLY"
    data.RTPlanDescription = description
    data.RTPlanDate, data.RTPlanTime = data.ContentDate, data.ContentTime
    data.PlanIntent = "RESEARCH"
    data.ApprovalStatus = "UNAPPROVED"
    data.RTPlanGeometry = "TREATMENT_DEVICE" if structure_set is None else "PATIENT"
    if structure_set is not None:
        item = Dataset()
        item.ReferencedSOPClassUID = structure_set.SOPClassUID
        item.ReferencedSOPInstanceUID = structure_set.SOPInstanceUID
        data.ReferencedStructureSetSequence = Items([item])
    if prescription_gy is not None:
        dose = Dataset()
        dose.DoseReferenceNumber = 1
        dose.DoseReferenceStructureType = "SITE"
        dose.DoseReferenceDescription = "Target"
        dose.DoseReferenceType = "TARGET"
        dose.TargetPrescriptionDose = decimal(prescription_gy)
        data.DoseReferenceSequence = Items([dose])
    fractions = Dataset()
    fractions.FractionGroupNumber = 1
    fractions.NumberOfFractionsPlanned = ""
    fractions.NumberOfBeams = 0
    fractions.NumberOfBrachyApplicationSetups = 0
    data.FractionGroupSequence = Items([fractions])
    save(data, path)
    return data
