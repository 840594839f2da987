# SPDX-License-Identifier: Apache-2.0
import os
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from ctan_networks.datasets.inference_cases import inference_list
from ctan_networks.datasets.openkbp.data_list import openkbp_list
from ctan_networks.errors import DataError


def make(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(",data\n")
    return folder


def make_dicom(file: Path, modality: str = "CT", series: str = "1.2.3") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    data = pydicom.Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.Modality, data.SeriesInstanceUID = modality, series
    data.save_as(file, enforce_file_format=False, implicit_vr=False, little_endian=True)
    content = file.read_bytes()
    file.write_bytes(content if content[128:132] == b"DICM" else bytes(128) + b"DICM" + content)


@pytest.fixture
def root(tmp_path):
    data = tmp_path / "open-kbp" / "provided-data"
    make(
        data / "train-pats" / "pt_10",
        "ct.csv",
        "dose.csv",
        "possible_dose_mask.csv",
        "PTV70.csv",
        "voxel_dimensions.csv",
    )
    make(data / "train-pats" / "pt_2", "ct.csv", "Larynx.csv")
    make(data / "train-pats" / "pt_1", "ct.csv", "dose.csv")
    make(data / "train-pats", ".DS_Store", "notes.txt")
    make(data / "validation-pats" / "pt_201", "ct.csv", "possible_dose_mask.csv", "dose.csv")
    return data


def test_items(root):
    train = root / "train-pats"
    expected = [
        {"case": "pt_1", "image": train / "pt_1/ct.csv", "dose": train / "pt_1/dose.csv"},
        {"case": "pt_2", "image": train / "pt_2/ct.csv", "segmentation": train / "pt_2"},
        {
            "case": "pt_10",
            "image": train / "pt_10/ct.csv",
            "segmentation": train / "pt_10",
            "dose": train / "pt_10/dose.csv",
            "mask": train / "pt_10/possible_dose_mask.csv",
        },
    ]
    expected = [{key: str(value) for key, value in item.items()} for item in expected]
    for given in (root, str(root), root.parent):
        for split in ("train", "train-pats"):
            assert openkbp_list(given, split) == expected


def test_relative_paths_become_absolute(root, monkeypatch):
    monkeypatch.chdir(root.parent)
    for item in openkbp_list("provided-data", "validation") + inference_list(".", "validation"):
        assert os.path.isabs(item["image"]) and Path(item["image"]).is_file()


def test_labels_can_be_left_out(root):
    make(root / "test-pats" / "pt_241", "ct.csv", "possible_dose_mask.csv")
    with pytest.raises(DataError, match="case pt_241 has no label"):
        openkbp_list(root, "test")
    assert [set(item) for item in openkbp_list(root, "test", require_labels=False)] == [{"case", "image", "mask"}]


def test_predictions(root, tmp_path):
    make(tmp_path / "mine", "pt_201.csv")
    items = openkbp_list(root, "validation", predictions=tmp_path / "mine")
    assert items[0]["predicted_dose"] == str(tmp_path / "mine" / "pt_201.csv")
    with pytest.raises(DataError, match="case pt_1 has no prediction"):
        openkbp_list(root, "train", predictions=tmp_path / "mine")
    with pytest.raises(DataError, match="folder of predictions is not there"):
        openkbp_list(root, "train", predictions=tmp_path / "none")


def test_list_errors(root, tmp_path):
    with pytest.raises(DataError, match=r"nowhere.*must hold provided-data/train-pats"):
        openkbp_list(tmp_path / "nowhere", "train")
    with pytest.raises(DataError, match=r"no split 'test'.*holds train-pats, validation-pats"):
        openkbp_list(root, "test")
    make(tmp_path / "empty")
    with pytest.raises(DataError, match="holds nothing"):
        openkbp_list(tmp_path / "empty", "train")
    make(root / "test-pats")
    with pytest.raises(DataError, match="holds no patient"):
        openkbp_list(root, "test")
    make(root / "train-pats" / "pt_5", "dose.csv")
    with pytest.raises(DataError, match="case pt_5 has no CT"):
        openkbp_list(root, "train")
    with pytest.raises(DataError, match="case pt_5 has no CT"):
        inference_list(root, "train")


def cases(*args):
    items = inference_list(*args)
    assert all({"case", "image"} <= set(item) <= {"case", "image", "mask"} for item in items)
    return [item["case"] for item in items]


def test_inference_on_openkbp(root):
    assert cases(root, "validation") == ["pt_201"]
    assert cases(root.parent, "train-pats") == ["pt_1", "pt_2", "pt_10"]
    assert cases(root) == cases(root.parent) == ["pt_1", "pt_2", "pt_10", "pt_201"]
    assert cases(root / "train-pats") == ["pt_1", "pt_2", "pt_10"]
    assert cases(root / "train-pats" / "pt_2") == cases(root / "train-pats" / "pt_2" / "ct.csv") == ["pt_2"]


def test_inference_on_volumes(tmp_path):
    make(tmp_path / "in", "b_2.nii.gz", "b_10.nii", "c.mha", ".hidden.nii.gz", "readme.txt")
    assert inference_list(tmp_path / "in" / "b_2.nii.gz") == [{"case": "b_2", "image": str(tmp_path / "in/b_2.nii.gz")}]
    assert cases(tmp_path / "in") == ["b_2", "b_10", "c"]


def test_inference_on_dicom_goes_by_content(tmp_path):
    make_dicom(tmp_path / "in" / "anna" / "0001")
    make_dicom(tmp_path / "in" / "anna" / "plan.dcm", modality="RTPLAN")
    make(tmp_path / "in" / "anna", "notes.dcm")
    make_dicom(tmp_path / "in" / "only_structures" / "rs.dcm", modality="RTSTRUCT")
    make_dicom(tmp_path / "in" / "bert" / "a.bin")
    assert inference_list(tmp_path / "in" / "anna") == [{"case": "anna", "image": str(tmp_path / "in" / "anna")}]
    assert cases(tmp_path / "in") == ["anna", "bert"]
    with pytest.raises(DataError, match="nothing to predict on"):
        inference_list(tmp_path / "in" / "only_structures")


def test_inference_says_what_it_passes_over(tmp_path, caplog):
    make(tmp_path / "in", "a.nii.gz", "readme.txt")
    make(tmp_path / "in" / "old results", "x.json")
    assert cases(tmp_path / "in") == ["a"]
    assert "ignored: old results, readme.txt" in caplog.text


def test_inference_errors(root, tmp_path):
    with pytest.raises(DataError, match=r"not there.*nowhere"):
        inference_list(tmp_path / "nowhere")
    make(tmp_path / "empty", "a.txt")
    for path in (tmp_path / "empty", tmp_path / "empty" / "a.txt"):
        with pytest.raises(DataError, match="nothing to predict on"):
            inference_list(path)
    with pytest.raises(DataError, match="no split 'test'"):
        inference_list(root, "test")
    make(tmp_path / "twice", "a.nii", "a.nii.gz")
    with pytest.raises(DataError, match="two cases are called a"):
        inference_list(tmp_path / "twice")
    make(root / "validation-pats" / "pt_1", "ct.csv")
    with pytest.raises(DataError, match=r"two cases are called pt_1.*split"):
        inference_list(root)
    assert cases(root, "validation") == ["pt_1", "pt_201"]
