# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from ctan_networks.data import case_parts
from ctan_networks.datasets.table.data_list import case_images, case_table
from ctan_networks.errors import ConfigError, DataError

TASKS = {
    "seg": {"kind": "segmentation", "out_channels": 2},
    "grade": {"kind": "classification", "out_channels": 3},
}
CLASSES = {"grade": ["low", "mid", "high"]}
FRACTIONS = {"train": 0.7, "validation": 0.15, "test": 0.15}


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "images").mkdir()
    for k in range(40):
        (tmp_path / "images" / f"i{k}.nii.gz").touch()
        (tmp_path / "images" / f"s{k}.nii.gz").touch()
    return tmp_path


def write(folder: Path, text: str, name: str = "list.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8-sig")
    return folder / name


def test_labels_are_read_and_empty_cells_are_unknown(folder):
    text = "case,image,seg,grade,group\n"
    text += "a,images/i0.nii.gz,images/s0.nii.gz,mid,P1\nb,./images/i1.nii.gz,,2,\n\nc,images/i2.nii.gz, ,,P1\n"
    text += "d,images/i3.nii.gz,,1.0,P2\n"
    items = case_table(write(folder, text), TASKS, CLASSES)
    assert items == [
        {
            "case": "a",
            "image": str(folder / "images/i0.nii.gz"),
            "group": "P1",
            "seg": str(folder / "images/s0.nii.gz"),
            "grade": 1,
        },
        {"case": "b", "image": str(folder / "images/i1.nii.gz"), "grade": 2},
        {"case": "c", "image": str(folder / "images/i2.nii.gz"), "group": "P1"},
        {"case": "d", "image": str(folder / "images/i3.nii.gz"), "group": "P2", "grade": 1},
    ]
    semicolons = write(folder, text.replace(",", ";"), "cases.csv")
    assert case_table(semicolons, TASKS, CLASSES) == items == case_table(folder, TASKS, CLASSES)


@pytest.mark.parametrize(
    "header", ["case,image,seg,grade,Split", "case,image,seg,grade,splits,group", "case,image,seg,grade,gruop"]
)
def test_a_column_that_is_nearly_one_that_is_looked_for_is_refused(folder, header):
    with pytest.raises(DataError, match=r"list.csv has '(Split|splits|gruop)', and no '(split|group)'"):
        case_table(write(folder, f"{header}\na,images/i0.nii.gz,,low,test\n"), TASKS, CLASSES)
    # Others are one's own.
    case_table(write(folder, "case,image,seg,grade,age,sex\na,images/i0.nii.gz,,low,50,f\n"), TASKS, CLASSES)


def test_misspelt_keys_of_json_are_refused(folder):
    for entry, said in (({"lable": "images/s0.nii.gz"}, "lable"), ({"Grade": "low"}, "Grade"), ({"sge": None}, None)):
        listed = {"training": [{"case": "a", "image": "images/i0.nii.gz", **entry}]}
        file = write(folder, json.dumps(listed), "dataset.json")
        if said is None:
            case_table(file, TASKS, CLASSES)
            continue
        with pytest.raises(DataError, match=rf"training\[0\] has '{said}'"):
            case_table(file, TASKS, CLASSES)
    file = write(folder, "case,image,seg,grade\na,images/i0.nii.gz,,low\n")
    with pytest.raises(ConfigError, match="classes: there is no grades. Did you mean grade"):
        case_table(file, TASKS, {"grades": ["low", "mid", "high"]})
    with pytest.raises(ConfigError, match="there is no channels. Did you mean out_channels"):
        case_table(file, {**TASKS, "seg": {"kind": "segmentation", "channels": 2}}, CLASSES)


def test_names_that_are_numbers_are_names(folder):
    text = "case,image,seg,grade\na,images/i0.nii.gz,,1\nb,images/i1.nii.gz,,3.0\nc,images/i2.nii.gz,,0\n"
    with pytest.raises(DataError, match=r"line 4: grade is '0': give 1, 2, 3, or leave"):
        case_table(write(folder, text), TASKS, {"grade": ["1", "2", "3"]})
    items = case_table(write(folder, text.replace(",,0", ",,2")), TASKS, {"grade": ["1", "2", "3"]})
    assert [item["grade"] for item in items] == [0, 2, 1]


def test_everything_that_is_wrong_is_named_at_once(folder):
    rows = ["a,images/i0.nii.gz,,severe,train,P1", "a,images/i1.nii.gz,images/no.nii.gz,3,validation,P2"]
    rows += [",images/gone.nii.gz,,,train,P1", "d,,,,later,P1", "e,images/i2.nii.gz,,-1,test,P1"]
    with pytest.raises(DataError) as error:
        case_table(write(folder, "case,image,seg,grade,split,group\n" + "\n".join(rows)), TASKS, CLASSES)
    message = str(error.value)
    assert str(folder / "list.csv") in message
    for part in (
        "line 2: grade is 'severe': give low, mid, high or its number from 0",
        f"line 3: the seg {folder / 'images/no.nii.gz'} is not there",
        "line 3: grade is '3'",
        "line 3: the case a stands in line 2 already",
        f"line 4: the image {folder / 'images/gone.nii.gz'} is not there",
        "line 5: no image",
        "line 5: the split is 'later', not train, validation, test",
        "line 6: group P1 is in test, in line 2 it is in train",
    ):
        assert part in message
    many = "case,image,seg,grade\n" + "\n".join(f"c{k},images/x{k}.nii.gz,," for k in range(13))
    with pytest.raises(DataError, match="13 things are wrong.*line 11.*; and 3 more"):
        case_table(write(folder, many), TASKS, CLASSES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,picture,seg\na,b,c", "no column image and no grade; it has case, picture, seg"),
        ("case,image,seg,grade\n", "lists no case"),
        ("case,image,seg,grade\na,b,c,d,e", "line 2: 5 cells under 4 columns"),
        ("case,image,seg,grade,seg\n", "lists no case|two columns seg"),
    ],
)
def test_a_table_of_another_form(folder, text, message):
    with pytest.raises(DataError, match=message):
        case_table(write(folder, text), TASKS, CLASSES)


def test_decathlon(folder):
    content = {
        "name": "Liver",
        "training": [
            {"image": "./images/i0.nii.gz", "label": "./images/s0.nii.gz", "grade": "high", "group": "P1"},
            {"image": "./images/i1.nii.gz", "seg": "./images/s1.nii.gz", "grade": 0, "case": "second"},
        ],
        "test": ["./images/i2.nii.gz"],
    }
    file = write(folder, json.dumps(content), "dataset.json")
    items = case_table(folder, TASKS, CLASSES)
    assert [item["case"] for item in items] == ["i0", "second", "i2"]
    assert [item["split"] for item in items] == ["train", "train", "test"]
    assert items[0]["seg"] == str(folder / "images/s0.nii.gz") and [i.get("grade") for i in items] == [2, 0, None]
    two = {"seg": TASKS["seg"], "other": TASKS["seg"]}
    with pytest.raises(DataError, match=r"training\[0\] has a \"label\", and 2 of the tasks"):
        case_table(file, two)
    write(folder, json.dumps({"training": content["training"]}), "dataset.json")
    assert all("split" not in item for item in case_table(folder, TASKS, CLASSES))
    write(folder, json.dumps({"training": [{"image": ["a", "b"]}, 3]}), "dataset.json")
    with pytest.raises(DataError, match=r"training\[1\] must be a dictionary"):
        case_table(folder, TASKS, CLASSES)
    write(folder, json.dumps({"training": [{"image": ["a", "b"], "case": "c"}]}), "dataset.json")
    with pytest.raises(DataError, match=r"training\[0\]: image must be one path, not \['a', 'b'\]"):
        case_table(folder, TASKS, CLASSES)
    write(folder, json.dumps({"cases": []}), "dataset.json")
    with pytest.raises(DataError, match='no list "training"'):
        case_table(folder, TASKS, CLASSES)


def test_images_to_predict_on(folder):
    text = "case,image,split\nb,images/i1.nii.gz,test\na,images/i0.nii.gz,train\n"
    file = write(folder, text)
    assert [i["case"] for i in case_images(file, 3)] == ["b", "a"]
    assert [i["case"] for i in case_images(file, 3, split="train")] == ["a"]
    with pytest.raises(DataError, match="no case whose split is 'validation'"):
        case_images(file, 3, split="validation")
    assert [i["case"] for i in case_images(folder / "images" / "i3.nii.gz", 3)] == ["i3"]
    assert len(case_images(folder / "images", 3)) == 80
    with pytest.raises(DataError, match="no photograph"):
        case_images(folder / "images", 2)


def items_of(count: int, **more) -> list[dict]:
    return [{"case": f"c{k}", "image": f"/x/{k}", "group": f"P{k // 2}", **more} for k in range(count)]


def test_parts_are_drawn_by_group_and_seeded(tmp_path):
    items = items_of(40)
    parts = [case_parts(items, tmp_path / f"{k}.csv", FRACTIONS, [], seed=k // 2) for k in range(3)]
    names = [{part: [i["case"] for i in own] for part, own in drawn.items()} for drawn in parts]
    assert names[0] == names[1] != names[2]
    assert [len(names[0][part]) for part in FRACTIONS] == [28, 6, 6]
    groups = [{i["group"] for i in parts[0][part]} for part in FRACTIONS]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]


def test_splits_that_the_list_names_stand(tmp_path, caplog):
    items = items_of(40)
    for k, item in enumerate(items):
        item["split"] = "test" if k < 10 else "train"
    file = tmp_path / "split.csv"
    parts = case_parts(items, file, FRACTIONS, [])
    assert [i["case"] for i in parts["test"]] == [f"c{k}" for k in range(10)]
    # Without a validation split, 30 training cases of 15 groups are divided 70 : 15.
    assert [len(parts[p]) for p in ("train", "validation")] == [24, 6]
    assert not {i["group"] for i in parts["train"]} & {i["group"] for i in parts["validation"]}
    assert all("split" not in item for own in parts.values() for item in own)
    assert len(pd.read_csv(file)) == 40 and "anew" not in caplog.text
    for item in items[-4:]:
        item["split"] = "validation"
    again = case_parts(items, file, FRACTIONS, [])
    assert [i["case"] for i in again["validation"]] == ["c36", "c37", "c38", "c39"]
    assert len(again["train"]) == 26 and "written anew" in caplog.text
    folds = [case_parts(items, file, FRACTIONS, [], folds=3, fold=k) for k in range(3)]
    held_out = [{i["case"] for i in parts["validation"]} for parts in folds]
    assert len(set.union(*held_out)) == 30 == sum(map(len, held_out))
    assert all(len(parts["test"]) == 10 for parts in folds)
