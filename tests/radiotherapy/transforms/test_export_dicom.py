# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from monai.data import MetaTensor

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.radiotherapy.transforms.export_dicom import ExportDICOMd

SHAPE = (14, 12, 8)
AFFINE = np.array([[2.0, 0, 0, -10], [0, 2.5, 0, -20], [0, 0, 3.0, 30], [0, 0, 0, 1]])


def case_of(folder, name: str, channels: int = 1) -> dict:
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.int16), AFFINE), folder / f"{name}.nii.gz")
    dose = torch.zeros(1, *SHAPE)
    dose[0, 3, 4, 5] = 61.5
    return {
        "case": name,
        "image": MetaTensor(torch.zeros(1, 2, 2, 2), meta={"filename_or_obj": str(folder / f"{name}.nii.gz")}),
        "predicted_segmentation": MetaTensor(torch.ones(channels, *SHAPE), affine=torch.tensor(AFFINE)),
        "predicted_dose": MetaTensor(dose, affine=torch.tensor(AFFINE)),
    }


def test_volumes_of_two_patients_stay_two_patients(tmp_path):
    transform = ExportDICOMd(["Bladder"], tmp_path, enabled=True, seg=False)
    seen = set()
    for name in ("P1", "P2"):
        transform(case_of(tmp_path, name))
        files = sorted((tmp_path / name / "dicom").rglob("*.dcm"))
        seen.add(tuple({str(pydicom.dcmread(file).PatientID) for file in files}))
    assert seen == {("P1",), ("P2",)}


def test_a_dose_lies_where_the_volume_has_it(tmp_path):
    """The position of the hottest pixel, by pydicom and the standard's formula alone (PS3.3 C.7.6.2.1.1)."""
    case = case_of(tmp_path, "P1")
    ExportDICOMd(["Bladder"], tmp_path, enabled=True, seg=False)(case)
    data = pydicom.dcmread(tmp_path / "P1" / "dicom" / "RTDOSE.dcm")
    frame, row, column = np.unravel_index(data.pixel_array.argmax(), data.pixel_array.shape)
    x, y = np.split(np.array(data.ImageOrientationPatient, float), 2)
    position = np.array(data.ImagePositionPatient, float) + x * float(data.PixelSpacing[1]) * column
    position += y * float(data.PixelSpacing[0]) * row + np.cross(x, y) * float(data.GridFrameOffsetVector[frame])
    left, posterior, superior = (AFFINE @ [3, 4, 5, 1])[:3] * [-1, -1, 1]
    assert np.allclose(position, [left, posterior, superior], atol=1e-3)


def test_one_of_the_two_results_is_enough(tmp_path):
    case = case_of(tmp_path, "P1")
    del case["predicted_segmentation"]
    ExportDICOMd(["Bladder"], tmp_path, enabled=True, prescription=60.0)(case)
    folder = tmp_path / "P1" / "dicom"
    assert sorted(p.name for p in folder.glob("*.dcm")) == ["RTDOSE.dcm", "RTPLAN.dcm"]
    plan = pydicom.dcmread(folder / "RTPLAN.dcm")
    assert float(plan.DoseReferenceSequence[0].TargetPrescriptionDose) == 60.0
    assert plan.RTPlanGeometry == "TREATMENT_DEVICE"


def test_mistakes_are_named(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="case P1: 2 channels for 1 structures"):
        ExportDICOMd(["Bladder"], tmp_path, enabled=True, seg=False)(case_of(tmp_path, "P1", channels=2))
    monkeypatch.setitem(sys.modules, "highdicom", None)
    ExportDICOMd(["Bladder"], tmp_path, enabled=False)
    with pytest.raises(ConfigError, match="highdicom"):
        ExportDICOMd(["Bladder"], tmp_path, enabled=True)
