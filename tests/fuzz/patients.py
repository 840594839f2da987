# SPDX-License-Identifier: Apache-2.0
"""Small DICOM patients, and raw values put into them that pydicom itself would not write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from ctan_networks.radiotherapy.dicom.write_ct import write_ct_series
from ctan_networks.radiotherapy.dicom.write_rtdose import write_rtdose
from ctan_networks.radiotherapy.dicom.write_rtplan import write_rtplan
from ctan_networks.radiotherapy.dicom.write_rtstruct import write_rtstruct

__all__ = ["put", "save", "write_patient"]

SHAPE = (14, 12, 6)


def write_patient(folder: Path) -> None:
    """CT, RTSTRUCT with two ROIs, RTDOSE with a stored DVH, and RTPLAN."""
    rng = np.random.default_rng(0)
    # Soft tissue with some bone in air, as a CT in HU has them.
    hu = np.full(SHAPE, -1000, np.float32)
    hu[1:-1, 1:-1] = rng.normal(40, 30, (SHAPE[0] - 2, SHAPE[1] - 2, SHAPE[2])).round()
    hu[5:7, 5:7] = 700
    affine = np.diag([2.0, 2.5, 3.0, 1.0])
    affine[:3, 3] = [-10.0, -20.0, 30.0]
    ct = write_ct_series(folder, hu, affine, name="Phantom^Fuzz", patient_id="ID-1", date="20200101120000")
    masks = {name: np.zeros(SHAPE, bool) for name in ("Bladder", "PTV")}
    masks["Bladder"][3:8, 3:9, 1:5] = True
    masks["PTV"][6:11, 4:9, 2:4] = True
    common = {"date": "20200101120000"}
    structures = write_rtstruct(folder / "RS.dcm", masks, ct, **common)
    plan = write_rtplan(folder / "RP.dcm", ct, structures, prescription_gy=60.0, **common)
    dose = rng.uniform(0, 60, SHAPE)
    dose[masks["PTV"]] = 60.0
    write_rtdose(folder / "RD.dcm", dose, ct, plan, **common)
    data = pydicom.dcmread(folder / "RD.dcm")
    entry, reference = Dataset(), Dataset()
    reference.ReferencedROINumber, reference.DVHROIContributionType = 1, "INCLUDED"
    entry.DVHReferencedROISequence = Sequence([reference])
    entry.DVHType, entry.DoseUnits, entry.DoseType, entry.DVHVolumeUnits = "CUMULATIVE", "GY", "PHYSICAL", "CM3"
    entry.DVHDoseScaling, entry.DVHNumberOfBins = 1, 3
    entry.DVHData = [10, 9, 10, 5, 10, 1]
    entry.DVHMaximumDose, entry.DVHMeanDose = 30, 15
    data.DVHSequence = Sequence([entry])
    data.save_as(folder / "RD.dcm")


def put(data: Dataset, keyword: str, value: bytes | None) -> None:
    """Set an element to bytes, as they are; None: take it out. A sequence becomes something else with these bytes."""
    tag = Tag(tag_for_keyword(keyword))  # type: ignore[arg-type]
    if value is None:
        if tag in data:
            del data[tag]
        return
    vr = dictionary_VR(tag)
    vr = "US" if vr == "US or SS" else "UN" if vr == "SQ" else vr
    value += b" " * (len(value) % 2)
    data._dict[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)


def save(data: Dataset, file: Path) -> None:
    """Write what :py:func:`put` made; bytes are written as they are."""
    data.save_as(file, enforce_file_format=False)
