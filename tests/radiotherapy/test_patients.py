# SPDX-License-Identifier: Apache-2.0
"""One patient's folder or a folder of patients; how a patient lay."""

from __future__ import annotations

import shutil
from pathlib import Path

import pydicom
import pytest
from beside_ct import BESIDE, add_report, add_scout, add_series, edit_slices, into_folders, slices
from small_patient import PATTERNS, write_small_patient

from ctan_networks.datasets.contoured_list import contoured_list
from ctan_networks.datasets.inference_cases import inference_list, prescribed_list
from ctan_networks.datasets.prostate.data_list import dicom_rt_list
from ctan_networks.datasets.table.data_list import case_images
from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.convert import convert_patient
from ctan_networks.radiotherapy.patients import holds_ct, is_patient_folder


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """CT/, RS/, RP/ and RD/."""
    folder = write_small_patient(tmp_path_factory.mktemp("patients") / "p")
    into_folders(folder)
    return folder


@pytest.fixture
def patient(original, tmp_path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "p"))


@pytest.mark.parametrize("what", BESIDE)
def test_a_patients_folder_is_one_case_everywhere(patient, tmp_path, what):
    BESIDE[what](patient)
    assert is_patient_folder(patient)
    (item,) = prescribed_list(patient)
    assert item == {"case": "p", "image": str(patient), "prescription": 60.0}
    assert inference_list(patient) == case_images(patient, 3) == [{"case": "p", "image": str(patient)}]
    (trained,) = dicom_rt_list(patient, tmp_path / "c", PATTERNS)
    assert trained["case"] == "p" and trained["prescription"] == 60.0
    (contoured,) = contoured_list(patient, tmp_path / "d", PATTERNS)
    assert contoured["prescription"] == 60.0


def test_a_folder_of_patients(original, tmp_path):
    for name, root in (("a", "1"), ("b", "2"), ("c", "3")):
        write_small_patient(tmp_path / "all" / name, root=root)
    into_folders(tmp_path / "all" / "a")
    (tmp_path / "all" / "b" / "study" / "series").mkdir(parents=True)
    for file in slices(tmp_path / "all" / "b"):
        shutil.move(file, tmp_path / "all" / "b" / "study" / "series")
    add_scout(tmp_path / "all" / "a", "SCOUT")
    assert not is_patient_folder(tmp_path / "all")
    listed = inference_list(tmp_path / "all")
    assert [item["case"] for item in listed] == ["a", "b", "c"]
    assert listed == case_images(tmp_path / "all", 3)
    assert [i["case"] for i in dicom_rt_list(tmp_path / "all", tmp_path / "t", PATTERNS) if "unusable" not in i] == [
        "a",
        "b",
        "c",
    ]


def test_patients_of_one_pseudonym_are_several(tmp_path):
    """Whole cohorts have the PatientID ANONYMOUS."""
    for name, root in (("a", "1"), ("b", "2")):
        folder = write_small_patient(tmp_path / "all" / name, root=root)
        for file in folder.iterdir():
            data = pydicom.dcmread(file)
            data.PatientID, data.PatientName = "ANONYMOUS", "Anonymous"
            data.save_as(file)
    assert [item["case"] for item in inference_list(tmp_path / "all")] == ["a", "b"]


def test_two_cts_without_a_plan_are_two_cases_unless_they_are_of_one_study(patient):
    for name in ("RS", "RP", "RD"):
        shutil.rmtree(patient / name)
    add_series(patient, "OLD", other_study=True)
    assert [item["case"] for item in inference_list(patient)] == ["CT", "OLD"]
    shutil.rmtree(patient / "OLD")
    add_series(patient, "CTB")
    assert [item["case"] for item in inference_list(patient)] == ["p"]


def test_a_second_patient_below_is_never_mixed_in(patient, tmp_path):
    for file in slices(patient):
        shutil.move(file, patient)
    write_small_patient(patient / "planning", root="2")
    (item,) = inference_list(patient)
    assert item["case"] == "p"
    with pytest.raises(DataError, match="files of two patients"):
        convert_patient(patient, tmp_path / "c", PATTERNS)


def test_a_plan_of_a_stranger_makes_no_patient(patient):
    shutil.rmtree(patient / "RS")
    shutil.rmtree(patient / "RD")
    other = write_small_patient(patient / "x", root="2")
    for file in slices(other):
        file.unlink()
    assert not is_patient_folder(patient)
    assert [item["case"] for item in inference_list(patient)] == ["CT"]


def test_scouts_and_reports_alone_are_no_case(tmp_path):
    folder = write_small_patient(tmp_path / "in" / "p")
    add_scout(folder, "S")
    add_report(folder, "R")
    assert holds_ct(folder) and not holds_ct(folder / "S") and not holds_ct(folder / "R")
    for file in slices(folder):
        file.unlink()
    assert not holds_ct(folder)
    with pytest.raises(DataError, match="nothing to predict on"):
        inference_list(tmp_path / "in")


@pytest.mark.parametrize(("position", "words"), [("HFP", "lies prone"), ("FFDL", "lies on the left side"), ("HFS", "")])
def test_how_a_patient_lies_is_said(patient, tmp_path, caplog, position, words):
    edit_slices(slices(patient), lambda data: setattr(data, "PatientPosition", position))
    convert_patient(patient, tmp_path / "someone", PATTERNS)
    assert ("case someone " + words in caplog.text) if words else "lies" not in caplog.text


def test_a_prone_patient_without_position(patient, tmp_path, caplog):
    for name in ("RS", "RP", "RD"):
        shutil.rmtree(patient / name)

    def turn(data: pydicom.Dataset) -> None:
        x, y, z = data.ImagePositionPatient
        data.ImageOrientationPatient, data.ImagePositionPatient = [-1, 0, 0, 0, -1, 0], [-x, -y, z]
        del data.PatientPosition

    edit_slices(slices(patient), turn)
    convert_patient(patient, tmp_path / "someone", PATTERNS, need_structures=False, need_dose=None)
    assert "case someone lies prone" in caplog.text
