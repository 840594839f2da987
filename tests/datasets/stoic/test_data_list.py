# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
import zlib
from pathlib import Path

import numpy as np
import pytest

from ctan_networks.data import split_cases
from ctan_networks.datasets.inference_cases import inference_list
from ctan_networks.datasets.stoic.data_list import stoic_list
from ctan_networks.errors import DataError

SHAPE = (6, 5, 4)


def mha(age: str | None = "065Y", sex: str | None = "M", compressed: bool = False, size: bool = True) -> bytes:
    """A volume as SimpleITK writes those of STOIC2021."""
    data = np.arange(np.prod(SHAPE), dtype="<i2").tobytes()
    body = zlib.compress(data) if compressed else data
    lines = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": str(compressed),
        "CompressedDataSize": str(len(body)) if compressed and size else None,
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "-170 -170 -300",
        "ElementSpacing": "0.7 0.7 1.25",
        "DimSize": " ".join(map(str, SHAPE)),
        "AnatomicalOrientation": "RAI",
        "PatientAge": age,
        "PatientSex": sex,
        "ElementType": "MET_SHORT",
        "ElementDataFile": "LOCAL",
    }
    return "".join(f"{key} = {value}\n" for key, value in lines.items() if value is not None).encode() + body


def write(root: Path, rows: str, **volumes: bytes) -> Path:
    (root / "data" / "mha").mkdir(parents=True)
    (root / "metadata").mkdir()
    (root / "metadata" / "reference.csv").write_text("PatientID,probCOVID,probSevere\n" + rows)
    for name, content in volumes.items():
        (root / "data" / "mha" / f"{name[1:]}.mha").write_bytes(content)
    return root


def reasons(root: Path) -> dict[str, str]:
    items = stoic_list(root)
    for item in items:
        assert ("unusable" in item) != ("covid" in item)
        assert "unusable" in item or {"case", "image", "group", "covid"} <= item.keys()
    return {item["case"]: item["unusable"] for item in items if "unusable" in item}


def test_items(tmp_path):
    root = write(
        tmp_path / "stoic",
        "10,1,1\n2,1.0,0.0\n3,0,0\n",
        _10=mha(),
        _2=mha("035Y", "F", compressed=True),
        _3=mha(None, "O"),
    )
    image = {case: str(root / "data" / "mha" / f"{case}.mha") for case in ("2", "3", "10")}
    expected = [
        {"case": "2", "image": image["2"], "group": "2", "covid": 1, "severity": 0, "age": "35", "sex": "female"},
        {"case": "3", "image": image["3"], "group": "3", "covid": 0},
        {"case": "10", "image": image["10"], "group": "10", "covid": 1, "severity": 1, "age": "65", "sex": "male"},
    ]
    assert stoic_list(root) == stoic_list(str(tmp_path)) == expected
    assert [item["case"] for item in inference_list(root)] == ["2", "3", "10"]


def test_what_the_header_does_not_say_is_named(tmp_path, caplog):
    stoic_list(write(tmp_path, "1,0,0\n2,0,0\n3,0,0\n", _1=mha("old"), _2=mha(sex=None), _3=mha("030M")))
    assert "1 cases have no age" in caplog.text and "PatientSex = M): 2" in caplog.text
    assert {item["case"]: item.get("age") for item in stoic_list(tmp_path)} == {"1": None, "2": "65", "3": "2"}


@pytest.mark.parametrize("value", ["maybe", "", "2", "0.5", "nan", "-1", "inf", "0x1"])
def test_a_label_that_is_neither_0_nor_1(tmp_path, value):
    root = write(tmp_path, f"1,{value},0\n2,1,{value}\n3,1,0\n", _1=mha(), _2=mha(), _3=mha())
    assert reasons(root) == {
        "1": f"probCOVID is {value!r}, not 0 or 1",
        "2": f"probSevere is {value!r}, not 0 or 1",
    }


def test_severe_without_covid_and_missing_halves(tmp_path, caplog):
    root = write(tmp_path, "1,0,1\n2,1,1\n3,0,0\n", _1=mha(), _3=mha(), _4=mha())
    found = reasons(root)
    assert found == {
        "1": "probSevere is 1 where probCOVID is 0",
        "2": "a row in metadata/reference.csv without data/mha/2.mha",
        "4": "4.mha without a row in metadata/reference.csv",
    }
    images = {item["case"]: "image" in item for item in stoic_list(root)}
    assert images == {"1": True, "2": False, "3": True, "4": True}
    assert "3 cases cannot be used: 1 (" in caplog.text


def test_damaged_files_are_found_without_decompressing(tmp_path):
    whole, packed, without = mha(), mha(compressed=True), mha(compressed=True, size=False)
    rows = "".join(f"{k},0,0\n" for k in range(1, 12))
    root = write(
        tmp_path,
        rows,
        _1=whole,
        _2=whole[:-1],
        _3=whole[:60],
        _4=b"",
        _5=b"\x00\x01\x02 not a volume\n" * 9,
        _6=packed,
        _7=packed[:-1],
        _8=without[: without.index(b"LOCAL\n") + 6],
        _9=whole.replace(b"DimSize = 6 5 4", b"DimSize = 6 5"),
        _10=whole.replace(b"MET_SHORT", b"MET_OTHER"),
        _11=whole.replace(b"DimSize = 6 5 4", b"DimSize = 9999999 9999999 9"),
    )
    found = reasons(root)
    assert set(found) == {"2", "3", "4", "5", "7", "8", "9", "10", "11"}
    assert all(f"{case}.mha" in reason for case, reason in found.items())
    assert "239 of 240 bytes" in found["2"] and "header is cut short" in found["3"]
    assert "no MetaImage header" in found["5"] and "cut short" in found["7"] and "DimSize" in found["9"]


def test_unusable_cases_are_in_no_part(tmp_path):
    rows = "".join(f"{k},{k % 2},0\n" for k in range(40)) + "50,1,1\n51,x,0\n"
    volumes = {f"_{k}": mha() for k in (*range(40), 51)}
    root = write(tmp_path / "stoic", rows, **volumes)
    parts = split_cases(stoic_list(root), tmp_path / "split.csv", {"train": 0.75, "validation": 0.25}, ["covid"])
    assert {item["case"] for item in parts["unusable"]} == {"50", "51"}
    assert len(parts["train"]) == 30 and len(parts["validation"]) == 10


def test_duplicates(tmp_path, caplog):
    root = write(tmp_path, "1,1,0\n1,1,0\n2,0,0\n", _1=mha(), _2=mha())
    assert [item["case"] for item in stoic_list(root)] == ["1", "2"]
    assert "count once: 1" in caplog.text
    (root / "metadata" / "reference.csv").write_text("PatientID,probCOVID,probSevere\n1,1,0\n2,0,0\n1,1,1\n1,0,0\n")
    with pytest.raises(DataError, match="contradict each other for 1\\."):
        stoic_list(root)


def test_structural_errors(tmp_path):
    with pytest.raises(DataError, match=r"not there.*nowhere"):
        stoic_list(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"holds no data/mha.*reference\.csv"):
        stoic_list(tmp_path)
    root = write(tmp_path / "a", "1,1,0\n")
    with pytest.raises(DataError, match=r"holds no \.mha"):
        stoic_list(root)
    (root / "data" / "mha" / "1.mha").write_bytes(mha())
    table = root / "metadata" / "reference.csv"
    for content, message in (
        ("PatientID,probCOVID\n1,1\n", "no column probSevere; it has PatientID, probCOVID"),
        ("", "cannot be read as CSV"),
        ('PatientID,probCOVID,probSevere\n1,1,0\n"2,1\n', "cannot be read as CSV"),
        ("PatientID,probCOVID,probSevere\n1,1,0\n,1,0\n", "no PatientID in line 3"),
    ):
        table.write_text(content)
        with pytest.raises(DataError, match=message):
            stoic_list(root)
    table.write_bytes(b"PatientID,probCOVID,probSevere\n\xff\xfe,1,0\n")
    with pytest.raises(DataError, match="cannot be read as CSV"):
        stoic_list(root)
    table.unlink()
    with pytest.raises(DataError, match=r"reference\.csv is not there"):
        stoic_list(root)


def test_a_table_from_a_spreadsheet(tmp_path):
    root = write(tmp_path, "", _1=mha())
    (root / "metadata" / "reference.csv").write_bytes(
        b"\xef\xbb\xbfPatientID, probCOVID ,probSevere,remark\r\n 1 ,1, 0,first\r\n"
    )
    assert [(item["case"], item["covid"], item["severity"]) for item in stoic_list(root)] == [("1", 1, 0)]


def test_a_clean_list_says_nothing(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        stoic_list(write(tmp_path, "1,1,0\n", _1=mha()))
    assert not caplog.records
