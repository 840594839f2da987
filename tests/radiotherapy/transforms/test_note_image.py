# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from monai.data import DataLoader, MetaTensor, decollate_batch
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, Orientationd
from small_patient import AFFINE, SHAPE, write_small_patient

from ctan_networks.data import ReadableCases
from ctan_networks.datasets.case_reader import CaseReader
from ctan_networks.errors import DataError
from ctan_networks.radiotherapy import ExportDICOMd, NoteImaged
from ctan_networks.radiotherapy.reference_ct import ReferenceCT

RAS = np.diag([-1.0, -1.0, 1.0, 1.0]) @ AFFINE


def prepared(path) -> dict:
    """As inference brings a case to the network: through a loader, in other axes."""
    steps = [
        LoadImaged("image", reader=CaseReader(), image_only=True),
        EnsureChannelFirstd("image"),
        Orientationd("image", "PLI", labels=None),
    ]
    cases = ReadableCases([{"case": "a", "image": str(path)}], Compose(steps))
    (batch,) = DataLoader(cases, batch_size=1)
    return decollate_batch(batch)[0]


def test_a_series_is_noted_without_its_uid(tmp_path):
    folder = write_small_patient(tmp_path / "p")
    written = {"files": {"dose": str(tmp_path / "a" / "a_dose.nii.gz")}}
    result = NoteImaged(reader=CaseReader())(prepared(folder) | written)["result"]
    uid = str(pydicom.dcmread(next(folder.glob("*0003*"))).SeriesInstanceUID)
    assert set(result["image"]) == {"series", "files"} and uid not in str(result)
    assert result["image"]["files"] == ["a_dose.nii.gz"]
    ReferenceCT.read(folder).require_origin("results", result["image"])
    with pytest.raises(DataError, match="predicted on another image"):
        ReferenceCT.read(write_small_patient(tmp_path / "q", root="2")).require_origin("results", result["image"])


def test_a_volume_is_noted_by_its_voxels(tmp_path):
    """The CT of a patient as NIfTI, whose results are then exported for the DICOM series."""
    folder = write_small_patient(tmp_path / "p")
    array, meta = CaseReader().get_data(folder)
    nib.save(nib.Nifti1Image(array.astype(np.int16), meta["affine"]), tmp_path / "ct.nii.gz")
    result = NoteImaged()(prepared(tmp_path / "ct.nii.gz"))["result"]
    assert set(result["image"]) == {"voxels", "files"}
    ReferenceCT.read(folder).require_origin("results", result["image"])
    nib.save(nib.Nifti1Image((array + 1).astype(np.int16), meta["affine"]), tmp_path / "other.nii.gz")
    with pytest.raises(DataError, match="predicted on another image"):
        ReferenceCT.read(tmp_path / "other.nii.gz").require_origin("results", result["image"])


def test_a_folder_in_which_another_series_lies_since(tmp_path):
    case = prepared(write_small_patient(tmp_path / "p"))
    case["predicted_dose"] = MetaTensor(torch.ones(1, *SHAPE), affine=torch.tensor(RAS))
    export = ExportDICOMd([], tmp_path / "out", enabled=True)
    assert export(case) and (tmp_path / "out" / "a" / "dicom" / "RTDOSE.dcm").is_file()
    write_small_patient(tmp_path / "p", root="3")
    with pytest.raises(DataError, match="case a: these results were predicted on another image"):
        ExportDICOMd([], tmp_path / "again", enabled=True)(case)
    assert not (tmp_path / "again").exists()


def test_a_prediction_on_another_grid(tmp_path):
    case = prepared(write_small_patient(tmp_path / "p"))
    case["predicted_dose"] = MetaTensor(torch.ones(1, *SHAPE), affine=torch.tensor(RAS @ np.diag([1, 1, 1.01, 1])))
    with pytest.raises(DataError, match="case a: predicted_dose does not lie on the CT's grid"):
        ExportDICOMd([], tmp_path / "out", enabled=True)(case)
    assert not (tmp_path / "out").exists()
