# SPDX-License-Identifier: Apache-2.0
"""Patients in DICOM-RT as cases: conversion, lists, and what must not survive."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from drawn_patient import discs, write_drawn_patient

from ctan_networks.data import split_cases
from ctan_networks.data.phantom_marker import is_phantom
from ctan_networks.datasets.case_reader import CaseReader
from ctan_networks.datasets.inference_cases import prescribed_list
from ctan_networks.datasets.prostate.data_list import dicom_rt_list
from ctan_networks.datasets.prostate.pelvis import make_pelvis
from ctan_networks.datasets.prostate.phantoms import prostate_cohort
from ctan_networks.errors import DataError
from ctan_networks.radiotherapy import convert as dicom_rt_convert
from ctan_networks.radiotherapy.convert import convert_patient
from ctan_networks.radiotherapy.dicom.patient_folder import read_ct, scan_folder
from ctan_networks.radiotherapy.dicom.rtdose import read_dose
from ctan_networks.utils import derive_seed

PATIENTS = 4


@pytest.fixture(scope="module")
def patterns(bundles):
    return json.loads((bundles / "prostate_ctan" / "configs" / "train.json").read_text())["usual_roi_patterns"]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return Path(prostate_cohort(tmp_path_factory.mktemp("cohort"), patients=PATIENTS))


@pytest.fixture(scope="module")
def truth() -> list:
    """The arrays that the phantom patients were written from."""
    return [make_pelvis(np.random.default_rng(derive_seed("prostate", 0, f"P{n:03d}"))) for n in range(1, PATIENTS + 1)]


@pytest.fixture(scope="module")
def items(cohort, patterns, tmp_path_factory):
    return dicom_rt_list(cohort, tmp_path_factory.mktemp("converted"), patterns)


def load(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    image = nib.load(path)
    return image.get_fdata(), np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine


def test_ct_structures_and_dose_are_what_they_were(items, truth):
    assert [item["case"] for item in items] == [f"P{n:03d}" for n in range(1, PATIENTS + 1)]
    for item, pelvis in zip(items, truth, strict=True):
        hu, affine = load(item["image"])
        assert np.allclose(affine, pelvis.affine, atol=1e-4)
        assert np.array_equal(hu, np.clip(np.rint(pelvis.hu), -1024, None))
        for name in ("Bladder", "Rectum", "PTV", "FemoralHeadLeft", "FemoralHeadRight"):
            file = Path(item["segmentation"]) / f"{name}.nii.gz"
            if file.exists():
                assert np.array_equal(load(file)[0] > 0, pelvis.structures[name]), (item["case"], name)
        assert item["prescription"] == pelvis.prescription
        dose, grid = load(item["dose"])
        # At the centres of the dose grid's voxels; the dose was resampled there once.
        where = np.unravel_index(dose.argmax(), dose.shape)
        there = np.linalg.inv(pelvis.affine) @ grid @ [*where, 1]
        assert pelvis.dose[tuple(np.round(there[:3]).astype(int))] == pytest.approx(dose.max(), rel=0.05)


def test_doses_of_beams_are_summed(cohort, items):
    for item in items:
        files = scan_folder(item["source"]).doses
        total = np.sum([read_dose(file).dose for file in files], axis=0)
        assert np.allclose(load(item["dose"])[0], total, atol=1e-3)
    assert {len(scan_folder(item["source"]).doses) for item in items} >= {1} and is_phantom(items)


def test_the_bit_field_says_what_is_there(items):
    names = ["Bladder", "FemoralHeadLeft", "Nowhere"]
    bits, meta = CaseReader(names).get_data(Path(items[0]["segmentation"]))
    assert meta["present"] == [(Path(items[0]["segmentation"]) / f"{n}.nii.gz").exists() for n in names]
    assert meta["present"][2] is False and not (bits & 4).any()
    assert np.array_equal((bits & 1) > 0, load(Path(items[0]["segmentation"]) / "Bladder.nii.gz")[0] > 0)


def test_nothing_is_converted_twice_and_changes_are_seen(cohort, patterns, tmp_path):
    patient = Path(shutil.copytree(cohort / "P001", tmp_path / "in" / "P001"))
    first = convert_patient(patient, tmp_path / "out", patterns)
    stamp = (tmp_path / "out" / "ct.nii.gz").stat().st_mtime_ns
    assert "unmatched" not in convert_patient(patient, tmp_path / "out", patterns)
    assert (tmp_path / "out" / "ct.nii.gz").stat().st_mtime_ns == stamp
    # Another pattern, another dose, or a lost file: made anew.
    again = convert_patient(patient, tmp_path / "out", {"Bladder": patterns["Bladder"]})
    assert set(again["structures"]) == {"Bladder"} and not (tmp_path / "out" / "PTV.nii.gz").exists()
    assert first["fingerprint"] != again["fingerprint"]
    (tmp_path / "out" / "Bladder.nii.gz").unlink()
    assert "unmatched" in convert_patient(patient, tmp_path / "out", {"Bladder": patterns["Bladder"]})


@pytest.mark.parametrize("same", [True, False])
def test_two_runs_that_convert_at_once(cohort, patterns, tmp_path, monkeypatch, same):
    """The other one's conversion, if it is of the same files and settings, stays where it is."""
    out = tmp_path / "out"
    other = patterns if same else {"Bladder": patterns["Bladder"]}
    real = dicom_rt_convert._write_structures
    stamps = []

    def meanwhile(*arguments):
        monkeypatch.setattr(dicom_rt_convert, "_write_structures", real)
        convert_patient(cohort / "P001", out, other)
        stamps.append((out / "ct.nii.gz").stat().st_mtime_ns)
        return real(*arguments)

    monkeypatch.setattr(dicom_rt_convert, "_write_structures", meanwhile)
    found = convert_patient(cohort / "P001", out, patterns)
    assert ((out / "ct.nii.gz").stat().st_mtime_ns == stamps[0]) == same
    assert dicom_rt_convert.read_provenance(out)["fingerprint"] == found["fingerprint"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_what_a_killed_conversion_left_is_removed(cohort, patterns, tmp_path):
    for name in (".converting-old", ".converting-new"):
        (tmp_path / "converted" / name / "new").mkdir(parents=True)
        (tmp_path / "converted" / name / "new" / "ct.nii.gz").write_bytes(b"half")
    os.utime(tmp_path / "converted" / ".converting-old", (1, 1))
    shutil.copytree(cohort / "P001", tmp_path / "data" / "P001")
    dicom_rt_list(tmp_path / "data", tmp_path / "converted", patterns)
    assert sorted(p.name for p in (tmp_path / "converted").iterdir()) == [".converting-new", "P001"]


MARKS = {
    "PatientName": "Geheim^Gustav",
    "PatientID": "MRN4711",
    "PatientBirthDate": "19010203",
    "AccessionNumber": "ACC99",
}


def test_no_identifier_survives(cohort, patterns, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    folder = Path(shutil.copytree(cohort / "P002", tmp_path / "data" / "Gustav_MRN4711"))
    for file in folder.rglob("*"):
        if file.is_file():
            data = pydicom.dcmread(file)
            for name, value in MARKS.items():
                setattr(data, name, value)
            data.add_new(0x00090010, "LO", "PRIVATE")
            data.add_new(0x00091001, "LO", "Gustav Geheim privat")
            data.save_as(file)
    uid = str(read_ct(scan_folder(folder)).uid)
    items = dicom_rt_list(tmp_path / "data", tmp_path / "converted", patterns)
    assert items[0]["case"].startswith("case_")
    written = [p for p in (tmp_path / "converted").rglob("*") if p.is_file()]
    assert len(written) >= 7
    words = [w.encode() for w in ("Geheim", "Gustav", "MRN4711", "19010203", "ACC99", uid)]
    for file in written:
        content = file.read_bytes() if file.suffix != ".gz" else nib.load(file).header.structarr.tobytes()
        assert not any(word in content for word in words), file
        assert not any(word.decode() in str(file.relative_to(tmp_path)) for word in words)
    assert not any(word.decode() in caplog.text for word in words)


def test_one_bad_patient_is_listed_with_its_reason_and_the_others_go_on(cohort, patterns, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    data = Path(shutil.copytree(cohort, tmp_path / "data"))
    for file in scan_folder(data / "P002").doses:
        file.unlink()
    items = dicom_rt_list(data, tmp_path / "converted", patterns)
    assert [item["case"] for item in items if "unusable" in item] == ["P002"]
    assert "no dose" in items[1]["unusable"]
    parts = split_cases(items, tmp_path / "split.csv", {"train": 0.4, "validation": 0.3, "test": 0.3}, [])
    assert [item["case"] for item in parts["unusable"]] == ["P002"]
    assert caplog.text.count("ROI names that match no structure") == 1 and "optBladder (3)" in caplog.text


def test_the_prescription_comes_from_the_plan_or_the_setting(cohort, patterns, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(cohort / "P001", data / "P001")
    for file in scan_folder(data / "P001").plans:
        file.unlink()
    (item,) = dicom_rt_list(data, tmp_path / "a", patterns)
    assert "--prescription" in item["unusable"]
    (item,) = dicom_rt_list(data, tmp_path / "b", patterns, prescription=66)
    assert item["prescription"] == 66.0


def test_patients_in_nifti_are_taken_as_they_are(items, patterns, tmp_path):
    shutil.copytree(items[0]["segmentation"], tmp_path / "data" / "A")
    (item,) = dicom_rt_list(tmp_path / "data", tmp_path / "unused", patterns)
    assert (
        item["image"] == str(tmp_path / "data" / "A" / "ct.nii.gz") and item["prescription"] == items[0]["prescription"]
    )
    assert not (tmp_path / "unused").exists()
    shifted = nib.load(tmp_path / "data" / "A" / "Bladder.nii.gz")
    nib.save(nib.Nifti1Image(shifted.get_fdata()[1:], shifted.affine), tmp_path / "data" / "A" / "Bladder.nii.gz")
    with pytest.raises(DataError, match=r"Bladder.nii.gz is not on the grid of ct.nii.gz"):
        CaseReader(["Bladder"]).get_data(tmp_path / "data" / "A")


def test_rois_under_names_that_are_not_known(cohort, patterns, tmp_path, caplog):
    write_drawn_patient(tmp_path / "data" / "A", [("Ziel", discs([4, 5])), ("Harn", discs([6]))], prescription=60.0)
    write_drawn_patient(tmp_path / "data" / "B", [("PTV_boost", discs([4, 5])), ("Blase", discs([6]))], prescription=60)
    (unknown, known) = dicom_rt_list(tmp_path / "data", tmp_path / "converted", patterns)
    assert "unusable" not in unknown and "segmentation" not in unknown and "segmentation" in known
    assert "case B: no ROI has a name that is known for PTV" in caplog.text and "not used: PTV_boost" in caplog.text
    own = {"PTV": ["Ziel", "PTV_boost"]}
    items = dicom_rt_list(tmp_path / "data", tmp_path / "converted", patterns, own_patterns=own)
    found = [sorted(p.name for p in Path(i["segmentation"]).glob("[A-Z]*")) for i in items]
    assert found == [["PTV.nii.gz"], ["Bladder.nii.gz", "PTV.nii.gz"]]


def test_what_can_be_predicted_on(cohort, items, tmp_path):
    listed = prescribed_list(cohort)
    assert [item["case"] for item in listed] == [f"P{n:03d}" for n in range(1, PATIENTS + 1)]
    assert [item["prescription"] for item in listed] == [item["prescription"] for item in items]
    shutil.copytree(cohort / "P001", tmp_path / "mixed" / "patient")
    shutil.copy(items[1]["image"], tmp_path / "mixed" / "other.nii.gz")
    shutil.copytree(items[2]["segmentation"], tmp_path / "mixed" / "third")
    assert [item["case"] for item in prescribed_list(tmp_path / "mixed")] == ["other", "patient", "third"]
    with pytest.raises(DataError, match="nothing to predict on"):
        prescribed_list(Path(shutil.copytree(cohort.parent / "prostate", tmp_path / "x")) / "PHANTOM.json")
    for item in listed:
        array, meta = CaseReader().get_data(Path(item["image"]))
        assert array.shape == tuple(meta["spatial_shape"])
