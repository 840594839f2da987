# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from ctan_networks.datasets.inference_cases import inference_list
from ctan_networks.errors import DataError


def make(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("x")
    return folder


def make_dicom(file: Path, modality: str = "CT") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    data = pydicom.Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, "1.2.3.4"
    data.Modality, data.SeriesInstanceUID = modality, "1.2.3"
    data.save_as(file, enforce_file_format=True)


def cases(path):
    items = inference_list(path)
    assert all(set(item) == {"case", "image"} and os.path.isabs(item["image"]) for item in items)
    return [item["case"] for item in items]


def test_one_volume_one_series_and_folders_of_them(tmp_path, monkeypatch):
    folder = make(tmp_path / "in", "b_10.nii.gz", "b_2.NII", "c.mha", "d.mhd", "e.nrrd", ".hidden.mha", "7.mha")
    make_dicom(folder / "anna" / "0001")
    make_dicom(folder / "plans" / "p.dcm", modality="RTPLAN")
    assert cases(folder) == ["7", "anna", "b_2", "b_10", "c", "d", "e"]
    assert inference_list(folder / "c.mha") == [{"case": "c", "image": str(folder / "c.mha")}]
    assert inference_list(folder / "anna") == [{"case": "anna", "image": str(folder / "anna")}]
    monkeypatch.chdir(tmp_path)
    assert cases("in") == cases(folder)


def test_what_is_passed_over_is_named(tmp_path, caplog):
    assert cases(make(tmp_path / "in", "a.mha", "readme.txt", "reference.csv")) == ["a"]
    assert "ignored: readme.txt, reference.csv" in caplog.text


def test_stoic_folder(tmp_path):
    make(tmp_path / "stoic" / "data" / "mha", "10.mha", "9.mha")
    make(tmp_path / "stoic" / "metadata", "reference.csv")
    for path in (tmp_path, tmp_path / "stoic", tmp_path / "stoic" / "data" / "mha"):
        assert cases(path) == ["9", "10"]
    make(tmp_path / "other" / "data" / "mha", "1.mha")
    with pytest.raises(DataError, match="2 STOIC folders: other, stoic"):
        inference_list(tmp_path)


def test_names_of_any_kind_are_sorted(tmp_path):
    # A number against a text, and digits that int() does not take.
    assert set(cases(make(tmp_path / "in", "1.mha", "a1.mha", "²x.mha", "é2.mha"))) == {"1", "a1", "²x", "é2"}


def test_a_cut_dicom_file_does_not_stop_the_listing(tmp_path):
    make_dicom(tmp_path / "in" / "anna" / "0002")
    whole = (tmp_path / "in" / "anna" / "0002").read_bytes()
    for size in (0, 132, 141, 152, 200, len(whole) - 3):
        (tmp_path / "in" / "anna" / "0001").write_bytes(whole[:size])
        assert cases(tmp_path / "in") == ["anna"]


def test_errors(tmp_path):
    with pytest.raises(DataError, match=r"not there.*nowhere"):
        inference_list(tmp_path / "nowhere")
    make(tmp_path / "empty", "a.txt")
    for path in (tmp_path / "empty", tmp_path / "empty" / "a.txt"):
        with pytest.raises(DataError, match=r"nothing to predict on.*\.mha"):
            inference_list(path)
    with pytest.raises(DataError, match=r"two cases are called a: .*a\.mha and .*a\.nii"):
        inference_list(make(tmp_path / "twice", "a.nii", "a.mha"))
