# SPDX-License-Identifier: Apache-2.0
"""Identifiers in headers of every kind of file: not in what a reader gives, nor in what an error or a warning says."""

from __future__ import annotations

import logging
import shutil
import traceback
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from markers import ELEMENTS, MARKS, find_marks, mark_dicom, mark_itk, mark_photo
from monai.transforms import EnsureChannelFirstd, LoadImaged
from PIL import Image
from pydicom.config import disable_value_validation

from ctan_networks.data import CachedDataset, PhotoReader, ReadableCases
from ctan_networks.datasets.case_reader import CaseReader
from ctan_networks.datasets.inference_cases import inference_list, prescribed_list
from ctan_networks.datasets.prostate.data_list import dicom_rt_list
from ctan_networks.datasets.prostate.phantoms import prostate_cohort
from ctan_networks.datasets.table.reader import TaskReader
from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.patient_folder import read_ct, scan_folder
from ctan_networks.radiotherapy.results import export_dicom
from ctan_networks.tools.packing.pack import pack_bundle


@pytest.fixture(scope="module")
def patient(tmp_path_factory) -> Path:
    """One patient in DICOM-RT with every mark."""
    folder = Path(prostate_cohort(tmp_path_factory.mktemp("dicom"), patients=1)) / "P001"
    for file in folder.rglob("*"):
        if file.is_file():
            mark_dicom(file)
    return folder


def volume(folder: Path, name: str) -> Path:
    """A marked volume."""
    file, array = folder / name, np.zeros((20, 20, 20), np.int16)
    if ".nii" in name:
        image = nib.Nifti1Image(array, np.diag([2.0, 2.0, 2.0, 1.0]))
        for field, mark in zip(("descrip", "db_name", "aux_file", "intent_name"), MARKS[:4], strict=True):
            image.header[field] = mark
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", MARKS[5].encode()))
        nib.save(image, file)
    else:
        mark_itk(file, array)
    assert len(find_marks(file)) >= 4
    return file


def photo(folder: Path, name: str) -> Path:
    """A marked picture."""
    file = folder / name
    mark_photo(Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)), file)
    assert len(find_marks(file)) >= 3
    return file


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mha", "a.mhd", "a.nrrd", "a.jpg", "a.png", "a.tif"])
def test_the_cache_holds_no_text_of_a_header(tmp_path, name):
    if name.endswith((".jpg", ".png", ".tif")):
        file = photo(tmp_path, name)
        readers: list[Any] = [PhotoReader(), PhotoReader(1), TaskReader(2, 3), TaskReader(2)]
    else:
        if "nii" not in name:
            pytest.importorskip("itk")
        file = volume(tmp_path, name)
        readers = [CaseReader(), TaskReader(3, 1), TaskReader(3)]
    for number, reader in enumerate(readers):
        load = [LoadImaged("image", reader=reader, image_only=True), EnsureChannelFirstd("image")]
        cache = tmp_path / f"cache_{number}"
        case = CachedDataset([{"case": "a", "image": str(file)}], load, cache)[0]
        assert list(cache.glob("*.pt")) and find_marks(cache) == {}
        assert find_marks(repr(case["image"].meta).encode()) == {}


# Header of a volume, what is replaced in it, and by what.
DAMAGED = {
    "n1.nrrd": (b"PatientName:=", b"PatientName "),
    "n2.nrrd": (b"PatientName:=", b""),
    "n3.nrrd": (b"PatientName:=", b"spacings: "),
    "m1.mha": (b"PatientName = ", b"PatientName "),
    "m2.mha": (b"PatientName = ", b"NDims = "),
    "m3.mha": (b"PatientName = ", b"DimSize = "),
    "m4.mha": (b"PatientName = ", b"ElementType = "),
    "m5.mha": (b"PatientName = ", b"TransformMatrix = "),
    "m6.mha": (b"PatientName = ", b"CompressedData = True\nCompressedDataSize = "),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_an_error_quotes_nothing_of_a_damaged_header(tmp_path, name, capfd):
    pytest.importorskip("itk")
    file = volume(tmp_path, name)
    file.write_bytes(file.read_bytes().replace(*DAMAGED[name]))
    for reader in (CaseReader(), TaskReader(3, 1)):
        try:
            reader.get_data(file)
        except DataError as error:  # noqa: PERF203  each by itself
            # The traceback, which names what an error comes from, is shown too.
            assert str(file) in str(error)
            assert find_marks("".join(traceback.format_exception(error)).encode()) == {}
    assert find_marks("".join(capfd.readouterr()).encode()) == {}


INVALID = {
    "PatientBirthDate": "ZZQNAME",
    "PatientSex": "zzqid7781 x",
    "StudyDate": "ZZQFIRST",
    "StudyTime": "ZZQACC",
    "PatientAge": "ZZQSTUDY",
    "AccessionNumber": "ZZQDOCTOR" * 8,
    "PatientID": ELEMENTS["PatientID"] * 8,
}


def test_values_that_break_dicoms_rules_are_not_quoted(patient, tmp_path, capfd, caplog, recwarn):
    """pydicom comments on them as it reads and writes, and highdicom refuses some."""
    pytest.importorskip("highdicom")
    caplog.set_level(logging.DEBUG)
    folder = Path(shutil.copytree(patient, tmp_path / "anyone"))
    with disable_value_validation():
        for file in folder.rglob("*"):
            data = pydicom.dcmread(file) if file.is_file() else None
            if data is not None:
                for keyword, value in INVALID.items():
                    setattr(data, keyword, value)
                data.PatientWeight = "111111111.5"
                block = data.private_block(0x0099, "ZZQ", create=True)
                block.add_new(2, "DA", "ZZQPRIVATE")
                block.add_new(3, "IS", "77777777")
                data.save_as(file)
                # Numbers that are none.
                content = file.read_bytes().replace(b"111111111.5", b"ZZQREQUEST.")
                file.write_bytes(content.replace(b"77777777", b"ZZQTOWN7"))
    CaseReader().get_data(folder)
    assert prescribed_list(folder)[0]["case"] == "anyone"
    mask = np.zeros(read_ct(scan_folder(folder)).shape, bool)
    mask[5:9, 5:9, 2:5] = True
    written = export_dicom(folder, tmp_path / "out", masks={"Bladder": mask}, dose=mask * 3.0)
    assert set(written) == {"RTSTRUCT", "SEG", "RTDOSE", "RTPLAN"}
    said = caplog.text + "".join(capfd.readouterr()) + "".join(str(w.message) for w in recwarn)
    assert find_marks(said.encode()) == {}


def test_a_folder_named_after_its_patient_is_named_nowhere(patient, tmp_path, caplog):
    """Whatever lists it, and whatever is wrong with it."""
    caplog.set_level(logging.DEBUG)
    name = f"{MARKS[0]}_{MARKS[2]}"
    ct = read_ct(scan_folder(patient))
    data = tmp_path / "data"
    whole, damaged = data / name, data / f"{name}_2"
    for folder in (whole, damaged):
        folder.mkdir(parents=True)
        for file in ct.files:
            shutil.copy(file, folder)
    for file in sorted(damaged.iterdir())[1:]:
        file.write_bytes(file.read_bytes()[:-1000])
    items = [inference_list(data), inference_list(whole), inference_list(data), prescribed_list(whole)]
    items.append(dicom_rt_list(data, tmp_path / "converted", {"Bladder": ["bladder"]}))
    for listed in items:
        assert all(item["case"].startswith("case_") for item in listed), listed
    assert all("image" in item for listed in items[:4] for item in listed) and len(items[0]) == 2
    assert find_marks(" ".join(item["unusable"] for item in items[4]).encode()) == {}
    load = [LoadImaged("image", reader=CaseReader(), image_only=True)]
    assert len(list(ReadableCases(items[0], load))) == 1
    with pytest.raises(DataError, match="none of 1 cases could be read") as caught:
        list(ReadableCases(items[0][1:], load))
    said = caplog.text + "".join(traceback.format_exception(caught.value))
    assert "skipped: case case_" in said and "named after their patients" in said and find_marks(said.encode()) == {}


def test_a_structure_that_is_named_after_the_patient(patient, tmp_path, caplog):
    """It is found by its name, which is then shown without the patient's."""
    caplog.set_level(logging.DEBUG)
    folder = Path(shutil.copytree(patient, tmp_path / "data" / "anyone"))
    (file,) = scan_folder(folder).structure_sets
    structures = pydicom.dcmread(file)
    for k, roi in enumerate(structures.StructureSetROISequence):
        roi.ROIName = f"{MARKS[0]} {roi.ROIName} {MARKS[2].lower()}_{k}"
    structures.save_as(file)
    pattern = f"{MARKS[0]}rectum.*"
    (item,) = dicom_rt_list(tmp_path / "data", tmp_path / "converted", {"Rectum": [pattern.lower()]})
    assert item["segmentation"] == item["image"].removesuffix("/ct.nii.gz") and "ROI names that match no" in caplog.text
    (unusable,) = dicom_rt_list(tmp_path / "data", tmp_path / "again", {"Any": [".*"]})
    assert "fits" in unusable["unusable"]
    said = caplog.text + unusable["unusable"]
    assert find_marks(said.encode(), tmp_path / "converted") == {}


def test_a_pack_holds_nothing_of_the_runs(bundles, tmp_path):
    bundle = tmp_path / "ham10000_ctan"
    shutil.copytree(bundles / "ham10000_ctan", bundle)
    for part in ("runs/patients_ctan", "cache", "eval", "phantom", "cache/converted"):
        (bundle / part).mkdir(parents=True, exist_ok=True)
        (bundle / part / "note.json").write_text(MARKS[0])
        (bundle / part / "model.pt").write_text(MARKS[1])
    (bundle / "note.txt").write_text(MARKS[2])
    assert find_marks(pack_bundle(bundle, tmp_path / "packed")) == {}
