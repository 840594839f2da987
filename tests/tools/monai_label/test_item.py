# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

from ctan_networks.data import CachedDataset
from ctan_networks.errors import DataError
from ctan_networks.tools.monai_label.item import MONAILabelItem, is_from_server

ADAPT = MONAILabelItem(classes={"diagnosis": ["mel", "nv"]})


@pytest.fixture
def item(tmp_path) -> dict[str, str]:
    (tmp_path / "dose.nii.gz").touch()
    return {"image": str(tmp_path / "case.1.nii.gz"), "label": str(tmp_path / "labels" / "case.1.nii.gz")}


def test_other_items_pass_unchanged(item):
    assert not is_from_server([]) and is_from_server([item, item])
    own = {"case": "a", "image": "a.nii.gz", "label": 3}
    assert ADAPT(own) == own and not is_from_server([item, own])


def test_an_image_and_a_label(item):
    expected = {"case": "case.1", "image": item["image"], "segmentation": item["label"], "label_map": True}
    assert ADAPT(item) == expected
    assert MONAILabelItem(segmentation=None)(item) == {"case": "case.1", "image": item["image"]}


def test_what_lies_beside_the_image(tmp_path, item):
    beside = tmp_path / "case.1.json"
    beside.write_text(json.dumps({"dose": "dose.nii.gz", "prescription": 60, "diagnosis": "nv"}))
    found = ADAPT(item)
    assert found["dose"] == str(tmp_path / "dose.nii.gz") and found["prescription"] == 60 and found["diagnosis"] == 1
    assert MONAILabelItem(prescription=66)(item)["prescription"] == 66
    beside.write_text(json.dumps({"diagnosis": 0, "PatientName": "Geheim", "mrn": 4711}))
    assert ADAPT(item)["diagnosis"] == 0
    # Items end in the cache.
    assert not {"PatientName", "mrn"} & ADAPT(item).keys()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "as JSON"),
        ("[1]", "one JSON object"),
        ('{"diagnosis": "bcc"}', "give one of mel, nv"),
        ('{"diagnosis": 2}', "give one of mel, nv"),
        ('{"diagnosis": true}', "give one of mel, nv"),
        ('{"dose": "elsewhere.nii.gz"}', "elsewhere.nii.gz, which is not there"),
    ],
)
def test_what_is_wrong_beside_the_image(tmp_path, item, content, said):
    (tmp_path / "case.1.json").write_text(content)
    with pytest.raises(DataError, match=said) as error:
        ADAPT(item)
    assert "case.1.json" in str(error.value)


def test_a_data_set_of_the_servers_items(item):
    read = CachedDataset([item, item], transform=lambda x: x, adapt=ADAPT)
    assert read[1]["case"] == "case.1" and read.data[0]["label_map"]
    read.set_data([item])
    assert len(read) == 1 and read[0]["segmentation"] == item["label"]
