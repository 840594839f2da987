# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ctan_networks.data import split_cases
from ctan_networks.datasets.ham10000.data_list import ham10000_list, inspect_photos
from ctan_networks.datasets.ham10000.labels import CLASSES, read_labels
from ctan_networks.errors import DataError


def save(path: Path, seed: int = 0, size: tuple[int, int] = (40, 30), mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (*size[::-1], *([3] if mode == "RGB" else []))
    values = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(values if mode == "RGB" else (values > 127) * np.uint8(255)).save(path)
    return path


@pytest.fixture
def ham(tmp_path):
    """Six images: with mask and diagnosis, with either, and with none of them."""
    for k in range(4):
        save(tmp_path / "HAM10000_images_part_1" / f"ISIC_{k:07}.jpg", k)
    for k in range(4, 6):
        save(tmp_path / "HAM10000_images_part_2" / f"ISIC_{k:07}.jpg", k)
    for k in (0, 1, 5):
        save(tmp_path / "masks" / f"ISIC_{k:07}_segmentation.png", k, mode="L")
    (tmp_path / "HAM10000_metadata.csv").write_text(
        "lesion_id,image_id,dx,dx_type,age,sex,localization,dataset\n"
        "HAM_1,ISIC_0000000,mel,histo,80,male,back,x\n"
        "HAM_1,ISIC_0000001,,histo,80,male,back,x\n"
        "HAM_2,ISIC_0000002,NV,histo,,unknown,face,x\n"
        "HAM_3,ISIC_0000004,vasc,histo,40,female,,x\n"
    )
    return tmp_path


def by_case(items):
    return {item["case"]: item for item in items}


def test_each_image_has_what_is_known_of_it(ham):
    items = by_case(ham10000_list(ham))
    assert list(items) == [f"ISIC_{k:07}" for k in range(6)]
    both = items["ISIC_0000000"]
    assert (both["group"], both["diagnosis"], both["age"], both["sex"], both["site"]) == (
        "HAM_1",
        0,
        "80",
        "male",
        "back",
    )
    assert Path(both["segmentation"]).name == "ISIC_0000000_segmentation.png"
    assert items["ISIC_0000001"].keys() >= {"segmentation"} and "diagnosis" not in items["ISIC_0000001"]
    assert items["ISIC_0000001"]["group"] == "HAM_1"
    assert items["ISIC_0000002"]["diagnosis"] == CLASSES.index("nv")
    assert "age" not in items["ISIC_0000002"] and "sex" not in items["ISIC_0000002"]
    assert items["ISIC_0000005"]["group"] == "ISIC_0000005"
    assert "neither a mask nor a diagnosis" in items["ISIC_0000003"]["unusable"]


def test_isic_2018_layout_beside_it(ham, tmp_path, caplog):
    isic = tmp_path / "other"
    save(isic / "ISIC2018_Task1-2_Training_Input" / "ISIC_9000000.jpg", 20)
    save(isic / "ISIC2018_Task1-2_Training_Input" / "ISIC_9000000_superpixels.png", 21)
    save(isic / "ISIC2018_Task1_Training_GroundTruth" / "ISIC_9000000_segmentation.png", 22, mode="L")
    save(isic / "ISIC2018_Task3_Training_Input" / "ISIC_9000001.jpg", 23)
    save(isic / "ISIC2018_Task3_Test_Input" / "ISIC_9000002.jpg", 24)
    (isic / "ISIC2018_Task3_Training_GroundTruth.csv").write_text(
        "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\nISIC_9000001,0.0,0.0,0.0,0.0,1.0,0.0,0.0\n"
    )
    (isic / "ISIC2018_Task3_Training_LesionGroupings.csv").write_text(
        "image,lesion_id,diagnosis_confirm_type\nISIC_9000001,HAM_77,histopathology\n"
    )
    (isic / "ISIC2018_Task3_Test_GroundTruth.csv").write_text("image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\n")
    with caplog.at_level(logging.WARNING):
        items = by_case(ham10000_list([ham / "HAM10000_images_part_1", ham / "masks", isic]))
    assert items["ISIC_9000000"]["segmentation"].endswith("ISIC_9000000_segmentation.png")
    assert (items["ISIC_9000001"]["diagnosis"], items["ISIC_9000001"]["group"]) == (CLASSES.index("bkl"), "HAM_77")
    assert "ISIC_9000002" not in items and "2 files of ISIC2018_Task3_Test are a test set" in caplog.text
    # Given by itself it can be evaluated.
    assert list(by_case(ham10000_list(isic / "ISIC2018_Task3_Test_Input"))) == ["ISIC_9000002"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("HAM_9,ISIC_0000099,mel,,,,,", "ISIC_0000099"),  # no such image
        ("HAM_9,ISIC_0000003,scc,,,,,", "'scc' is no class"),
        ("HAM_1,ISIC_0000000,nv,,,,,", "mel in"),  # contradicts
        ("HAM_9,,nv,,,,,", "without image id"),
    ],
)
def test_wrong_rows_are_named(ham, caplog, row, said):
    with open(ham / "HAM10000_metadata.csv", "a") as file:
        file.write(row + "\n")
    with caplog.at_level(logging.WARNING):
        items = by_case(ham10000_list(ham))
    told = caplog.text + " ".join(item.get("unusable", "") + case for case, item in items.items())
    assert said in told
    if "ISIC_0000000" in row:
        assert "diagnosis" not in items["ISIC_0000000"], "contradicting labels must not be used"


def test_a_row_without_image_is_unusable(ham):
    with open(ham / "HAM10000_metadata.csv", "a") as file:
        file.write("HAM_9,ISIC_0000099,mel,,,,,\n")
    item = by_case(ham10000_list(ham))["ISIC_0000099"]
    assert "a row without image" in item["unusable"] and "HAM10000_metadata.csv" in item["unusable"]


def test_one_hot_that_is_no_number_or_two_classes(tmp_path):
    file = tmp_path / "truth.csv"
    header = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\n"
    file.write_text(header + "a,0,1,0,0,0,0,0\nb,0,one,0,0,0,0,0\nc,1,1,0,0,0,0,0\nd,0,0,0,0,0,0,0\na,0,1,0,0,0,0,0\n")
    labels = read_labels([file])
    assert labels.rows["a"]["diagnosis"] == 1
    assert all("diagnosis" not in labels.rows[name] for name in "bcd")
    assert "no number" in labels.problems["b"][0] and "exactly one" in labels.problems["c"][0]
    assert "listed twice" in labels.problems["a"][0] and "d" not in labels.problems


def test_other_tables_are_passed_over(tmp_path, caplog):
    (tmp_path / "notes.csv").write_text("name,value\na,1\n")
    with caplog.at_level(logging.WARNING):
        assert not read_labels([tmp_path / "notes.csv"]).rows
    assert "notes.csv: no label file" in caplog.text


def test_a_mask_of_another_size_is_left_out(ham, caplog):
    save(ham / "masks" / "ISIC_0000000_segmentation.png", 1, size=(30, 40), mode="L")
    save(ham / "masks" / "ISIC_0000005_segmentation.png", 1, size=(30, 40), mode="L")
    with caplog.at_level(logging.WARNING):
        items = by_case(ham10000_list(ham))
    assert "segmentation" not in items["ISIC_0000000"] and items["ISIC_0000000"]["diagnosis"] == 0
    assert "30 x 40 pixels, the image 40 x 30" in caplog.text
    assert "30 x 40" in items["ISIC_0000005"]["unusable"], "its only label"


def test_no_image_or_no_folder(tmp_path):
    with pytest.raises(DataError, match="no image"):
        ham10000_list(tmp_path)
    with pytest.raises(DataError, match="is not there"):
        ham10000_list(tmp_path / "absent")


def test_broken_images_and_duplicates_are_found(ham):
    pytest.importorskip("imagehash")
    folder = ham / "HAM10000_images_part_1"
    coarse = np.random.default_rng(5).integers(0, 256, (15, 20, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((160, 120), Image.Resampling.BICUBIC)
    picture.save(folder / "ISIC_0000002.jpg", quality=95)
    # The same picture, smaller and with another name.
    picture.resize((80, 60)).save(folder / "ISIC_0000003.jpg", quality=70)
    with open(ham / "HAM10000_metadata.csv", "a") as file:
        file.write("HAM_8,ISIC_0000003,nv,,,,,\nHAM_6,ISIC_0000006,nv,,,,,\nHAM_7,ISIC_0000007,nv,,,,,\n")
    save(folder / "ISIC_0000006.jpg", size=(1, 1))
    save(folder / "ISIC_0000007.jpg", 3, size=(400, 300))
    (folder / "ISIC_0000007.jpg").write_bytes((folder / "ISIC_0000007.jpg").read_bytes()[:5000])
    (ham / "masks" / "ISIC_0000001_segmentation.png").write_bytes(b"no image")
    found = by_case(inspect_photos([i for i in ham10000_list(ham) if "unusable" not in i]))
    assert found["ISIC_0000002"]["group"] == found["ISIC_0000003"]["group"] == "HAM_2"
    assert "1 x 1 pixels" in found["ISIC_0000006"]["unusable"]
    assert "cannot be read" in found["ISIC_0000007"]["unusable"]
    assert "ISIC_0000001_segmentation.png" in found["ISIC_0000001"]["unusable"]
    # Random pictures look like nothing else.
    assert found["ISIC_0000004"]["group"] == "HAM_3" and found["ISIC_0000005"]["group"] == "ISIC_0000005"


@pytest.mark.parametrize(
    ("name", "separator", "quote", "encoding"),
    [
        ("HAM10000_metadata.tab", "\t", '"', "utf-8"),  # as the Dataverse serves it
        ("HAM10000_metadata", ",", "", "utf-8"),
        ("HAM10000_metadata", "\t", '"', "utf-8"),
        ("labels.TSV", "\t", "", "utf-8"),
        ("HAM10000_metadata.txt", ",", "", "utf-8-sig"),
        ("HAM10000_metadata.csv", ";", "", "utf-8"),
        ("HAM10000_metadata.csv", "\t", "", "utf-16"),
    ],
)
def test_tables_as_they_are_served_and_saved(ham, name, separator, quote, encoding):
    usual = ham10000_list(ham)
    lines = (ham / "HAM10000_metadata.csv").read_text().splitlines()
    (ham / "HAM10000_metadata.csv").unlink()
    rows = [separator.join(f"{quote}{cell}{quote}" for cell in line.split(",")) for line in lines]
    (ham / name).write_bytes("\r\n".join(rows).encode(encoding))
    (ham / "README").write_text("lesion_id and image_id are explained here\n")
    assert ham10000_list(ham) == usual


def test_a_second_table_that_contradicts_and_one_that_is_not_read(ham, caplog):
    (ham / "other.tab").write_text("image_id\tdx\nISIC_0000002\tmel\nISIC_0000004\tvasc\n")
    (ham / "more.xlsx").write_bytes(b"PK")
    with caplog.at_level(logging.WARNING):
        items = by_case(ham10000_list(ham))
    assert "diagnosis" not in items["ISIC_0000002"] and "diagnosis" in items["ISIC_0000004"]
    assert "nv in" in caplog.text and "more.xlsx" in caplog.text


@pytest.fixture
def task3(tmp_path):
    """The official test set, as the challenge publishes it."""
    inputs, truth = (tmp_path / f"ISIC2018_Task3_Test_{kind}" for kind in ("Input", "GroundTruth"))
    for k in range(3):
        save(inputs / f"ISIC_003452{k}.jpg", k)
    truth.mkdir()
    rows = [f"ISIC_003452{k}," + ",".join("1.0" if k == j else "0.0" for j in range(7)) for k in range(3)]
    table = truth / "ISIC2018_Task3_Test_GroundTruth.csv"
    table.write_text("\n".join(["image,MEL,NV,BCC,AKIEC,BKL,DF,VASC", *rows]) + "\n")
    return inputs, table


def test_the_official_test_set_is_scored_when_it_is_named(task3, tmp_path):
    inputs, table = task3
    for given in ([inputs, table.parent], [inputs, table]):
        items = ham10000_list(given)
        assert [(item["diagnosis"], item["split"]) for item in items] == [(0, "test"), (1, "test"), (2, "test")]
    with pytest.raises(DataError, match=r"--dataset_dir \".*GroundTruth.*Test_Input.*--split test"):
        ham10000_list(tmp_path)
    (item, *_) = ham10000_list(inputs)
    assert "give ISIC2018_Task3_Test_GroundTruth.csv" in item["unusable"]


def test_the_official_test_set_is_never_trained_on(task3, ham, tmp_path):
    items = ham10000_list([ham / "HAM10000_images_part_1", ham / "HAM10000_metadata.csv", *task3])
    for fractions in ({"train": 0.7, "validation": 0.3}, {"train": 0.5, "validation": 0.25, "test": 0.25}):
        file = tmp_path / f"{len(fractions)}.csv"
        parts = split_cases(items, file, fractions, ["diagnosis"])
        reserved = {part: [i["case"] for i in members if "split" in i] for part, members in parts.items()}
        assert [part for part, cases in reserved.items() if cases] == ["test"] and len(reserved["test"]) == 3
    file.write_text(file.read_text().replace("ISIC_0034520,ISIC_0034520,0,test", "ISIC_0034520,ISIC_0034520,0,train"))
    with pytest.raises(DataError, match=r"ISIC_0034520 \(train\)"):
        split_cases(items, file, fractions, ["diagnosis"])


def test_ph2_and_isic_2016(tmp_path):
    for k in (1, 2):
        folder = tmp_path / "PH2 Dataset images" / f"IMD00{k}"
        save(folder / f"IMD00{k}_Dermoscopic_Image" / f"IMD00{k}.bmp", k)
        for name in (f"IMD00{k}_lesion/IMD00{k}_lesion.bmp", f"IMD00{k}_roi/IMD00{k}_R1_Label4.bmp"):
            (folder / name).parent.mkdir()
            Image.new("1", (40, 30)).save(folder / name)
    save(tmp_path / "ISBI2016_ISIC_Part1_Training_Data" / "ISIC_1.jpg")
    save(tmp_path / "ISBI2016_ISIC_Part1_Training_GroundTruth" / "ISIC_1_Segmentation.png", mode="L")
    save(tmp_path / "mine" / "a.tif")
    save(tmp_path / "mine" / "a_mask.tiff", mode="L")
    items = ham10000_list(tmp_path)
    assert [item["case"] for item in items] == ["IMD001", "IMD002", "ISIC_1", "a"]
    assert [Path(item["segmentation"]).name for item in items] == [
        "IMD001_lesion.bmp",
        "IMD002_lesion.bmp",
        "ISIC_1_Segmentation.png",
        "a_mask.tiff",
    ]


def test_a_photograph_held_sideways(ham):
    mask = np.zeros((30, 40), np.uint8)
    mask[5:12, 8:30] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    folder, masks = ham / "HAM10000_images_part_1", ham / "masks"
    photo = Image.open(folder / "ISIC_0000000.jpg")
    photo.transpose(Image.Transpose.ROTATE_90).save(folder / "ISIC_0000000.jpg", exif=exif)
    for drawn in (Image.fromarray(mask), Image.fromarray(mask).transpose(Image.Transpose.ROTATE_90)):
        drawn.save(masks / "ISIC_0000000_segmentation.png")
        assert "segmentation" in by_case(ham10000_list(ham))["ISIC_0000000"]
    # A square one fits both ways.
    save(folder / "ISIC_0000001.jpg", size=(32, 32))
    Image.open(folder / "ISIC_0000001.jpg").save(folder / "ISIC_0000001.jpg", exif=exif)
    save(masks / "ISIC_0000001_segmentation.png", size=(32, 32), mode="L")
    assert "EXIF orientation 6" in by_case(ham10000_list(ham))["ISIC_0000001"]["unusable"]


@pytest.mark.parametrize(
    ("values", "said"),
    [([0, 1, 2], "several labels"), ([255, 0, 255], "0 in the middle"), ([0, 90, 140], "several labels")],
)
def test_masks_that_are_none_are_found_before_training(ham, values, said):
    pytest.importorskip("imagehash")
    mask = np.full((30, 40), values[0], np.uint8)
    mask[8:20, 10:25] = values[1]
    mask[10:14, 12:20] = values[2]
    Image.fromarray(mask).save(ham / "masks" / "ISIC_0000005_segmentation.png")
    found = by_case(inspect_photos([i for i in ham10000_list(ham) if "unusable" not in i]))
    assert "ISIC_0000005_segmentation.png" in found["ISIC_0000005"]["unusable"]
    assert said in found["ISIC_0000005"]["unusable"]


@pytest.mark.realdata
def test_the_published_counts(real_data):
    """Tschandl et al. 2018: 10,015 images of 7,470 lesions; images a class as in their table 1."""
    if not (real_data / "ham10000").is_dir():
        pytest.skip(f"{real_data} holds no ham10000")
    items = ham10000_list(real_data / "ham10000")
    assert len(items) == 10015 and not any("unusable" in item for item in items)
    assert len({item["group"] for item in items}) == 7470
    counts = Counter(CLASSES[item["diagnosis"]] for item in items)
    assert counts == {"nv": 6705, "mel": 1113, "bkl": 1099, "bcc": 514, "akiec": 327, "vasc": 142, "df": 115}
