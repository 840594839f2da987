# SPDX-License-Identifier: Apache-2.0
"""Broken data sets with tables: HAM10000, STOIC2021, and the file of the parts."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from harness import Wrong
from hypothesis import strategies as st
from PIL import Image

from ctan_networks.data import photo_list, split_cases
from ctan_networks.datasets.ham10000.data_list import ham10000_list, inspect_photos
from ctan_networks.datasets.ham10000.labels import CLASSES
from ctan_networks.datasets.stoic.data_list import stoic_list
from ctan_networks.datasets.stoic.phantoms import write_mha
from ctan_networks.errors import DataError

FRACTIONS = {"train": 0.6, "validation": 0.2, "test": 0.2}


def rows_of(file: Path) -> list[dict[str, str]] | None:
    """A CSV by Python's own reader; None where it has no plain form."""
    if not file.is_file() or file.stat().st_size > 10**7:
        return None
    try:
        text = file.read_bytes().decode("utf-8-sig")
        if '"' in text or "\r" in text.replace("\r\n", "") or text[:1].isspace():
            return None
        first = text.split("\n")[0]
        separator = sorted(",;\t", key=first.count)[-1] if any(mark in first for mark in ",;\t") else ","
        reader = csv.DictReader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
        rows = list(reader)
        names = [str(name).strip() for name in reader.fieldnames or []]
    except (UnicodeError, csv.Error):
        return None
    if len({name.lower() for name in names}) < len(names):
        return None
    for row in rows:
        if None in row:
            raise Wrong(f"{file.name} was read, with a row of more than {len(names)} fields: {row}")
    return [{str(k).strip(): (v or "").strip() for k, v in row.items()} for row in rows]


def check_parts(items: list, folder: Path, **kwargs: object) -> str:
    try:
        parts = split_cases(items, folder / "split.csv", FRACTIONS, ["diagnosis"], **kwargs)  # type: ignore[arg-type]
    except DataError as error:
        # It names the cases and what is wrong with each.
        if str(error).startswith(f"none of {len(items)} cases can be used: {items[0]['case']}"):
            return "left out"
        raise
    if sorted(i["case"] for members in parts.values() for i in members) != sorted(i["case"] for i in items):
        raise Wrong("a case is in no part, or in two")
    for part, members in parts.items():
        for item in members:
            if part != "unusable" and not item["group"]:
                raise Wrong(f"{item['case']} is in {part} without a group")
    again = split_cases(items, folder / "split.csv", FRACTIONS, ["diagnosis"])
    if {p: sorted(i["case"] for i in m) for p, m in again.items() if m} != {
        p: sorted(i["case"] for i in m) for p, m in parts.items() if m
    }:
        raise Wrong("the parts are others when they are read again")
    if any("unusable" in item for item in items):
        return "left out"
    return "read"


def read_ham(folder: Path) -> str:
    items = ham10000_list(folder)
    table = rows_of(folder / "HAM10000_metadata.csv")
    if table is not None:
        known = {row.get("image_id"): row for row in table}
        for item in items:
            row = known.get(item["case"])
            said = row.get("dx", "").lower() if row else ""
            if "diagnosis" in item and said in CLASSES and item["diagnosis"] != CLASSES.index(said):
                raise Wrong(f"{item} where the table says {row}")
            if row and row.get("dx") and "diagnosis" not in item and "unusable" not in item and row["dx"] in CLASSES:
                # Only where another table contradicts.
                other = rows_of(folder / "ISIC2018_Task3.csv")
                if other is None or item["case"] not in {r.get("image") for r in other}:
                    raise Wrong(f"{item} where the table says {row}")
    photo_list(folder)
    return check_parts(items, folder, inspect=inspect_photos)


def read_stoic(folder: Path) -> str:
    items = stoic_list(folder)
    table = rows_of(folder / "metadata" / "reference.csv")
    if table is not None:
        known = {row.get("PatientID"): row for row in table}
        for item in items:
            row = known.get(item["case"])
            if "unusable" in item:
                continue
            if row is None or float(row["probCOVID"]) != item["covid"]:
                raise Wrong(f"{item} where the table says {row}")
            if item["covid"] and float(row["probSevere"]) != item["severity"]:
                raise Wrong(f"{item} where the table says {row}")
    return check_parts(items, folder)


@pytest.fixture
def ham(tmp_path):
    folder = tmp_path / "template"
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    rng = np.random.default_rng(0)
    lines = ["lesion_id,image_id,dx,dx_type,age,sex,localization"]
    for k in range(8):
        picture = rng.integers(0, 255, (20, 18, 3)).astype(np.uint8)
        Image.fromarray(picture).save(folder / "images" / f"ISIC_{k}.jpg")
        Image.fromarray(((picture[..., 0] > 99) * 255).astype(np.uint8)).save(
            folder / "masks" / f"ISIC_{k}_segmentation.png"
        )
        lines.append(f"HAM_{k // 2},ISIC_{k},{CLASSES[k % 7]},histo,{30 + k}.0,male,back")
    (folder / "HAM10000_metadata.csv").write_text("\n".join(lines) + "\n")
    (folder / "ISIC2018_Task3.csv").write_text(
        "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\nISIC_0,1.0,0.0,0.0,0.0,0.0,0.0,0.0\n"
    )
    return folder


@pytest.fixture
def stoic(tmp_path):
    folder = tmp_path / "template"
    (folder / "data" / "mha").mkdir(parents=True)
    (folder / "metadata").mkdir()
    lines = ["PatientID,probCOVID,probSevere"]
    for k in range(6):
        volume = np.random.default_rng(k).integers(-1000, 400, (5, 4, 3)).astype(np.int16)
        write_mha(
            folder / "data" / "mha" / f"{k + 1}.mha",
            volume,
            (1.0, 1.0, 2.0),
            extra={"PatientAge": "065Y", "PatientSex": "M"},
        )
        lines.append(f"{k + 1},{k % 2},{int(k == 3)}")
    (folder / "metadata" / "reference.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def parts(tmp_path):
    folder = tmp_path / "template"
    folder.mkdir()
    lines = ["case,group,stratum,part,reason"]
    lines += [
        f"c{k},g{k // 2},a,{['train', 'train', 'validation', 'test'][k // 2]},".replace("\n", "") for k in range(8)
    ]
    lines += ["c8,,,unusable,broken"]
    (folder / "split.csv").write_text("\n".join(lines) + "\n")
    return folder


def read_parts(folder: Path) -> str:
    items: list[dict] = [{"case": f"c{k}", "group": f"g{k // 2}", "diagnosis": k % 2} for k in range(8)]
    items.append({"case": "c8", "unusable": "broken"})
    parts = split_cases(items, folder / "split.csv", FRACTIONS, ["diagnosis"])
    table = rows_of(folder / "split.csv")
    found = {item["case"]: (part, item) for part, members in parts.items() for item in members}
    if sorted(found) != sorted(item["case"] for item in items):
        raise Wrong(f"cases {sorted(found)}")
    for row in table or []:
        if row.get("case") in found and row["case"] != "c8" and found[row["case"]][0] != row["part"]:
            raise Wrong(f"{row} became {found[row['case']]}")
    if any(not item["group"] for part, item in found.values() if part != "unusable"):
        raise Wrong("a case without a group")
    return "read"


CELLS = st.one_of(
    st.sampled_from(
        ["", " ", "0", "1", "0.0", "1.0", "2", "-1", "nan", "inf", "1e999", "mel", "nv", "MEL", "x", "1_0", "ISIC_1",
         "train", "unusable", "c1", "NA", "None", '"', '""', '"a', "a,b", ",", ",,", "\ufeff", "\0", "\r", "\u0661",
         "9" * 6000, "=1+1", "../x", "\udcff", "a\nb", ";", "\t", "065Y", "1" * 400, "None"]
    ),
    st.text(max_size=6),
)  # fmt: skip
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["cell", "cell", "row", "add", "header", "all", "copy"]),
        st.integers(0, 9),
        st.integers(0, 7),
        CELLS,
    ),
    min_size=1,
    max_size=4,
)


def _rewrite(file: Path, drawn: list) -> str:
    lines = [line.split(",") for line in file.read_text().splitlines()]
    for how, row, column, cell in drawn:
        row = row % len(lines)
        if how == "cell":
            lines[row][column % len(lines[row])] = cell
        elif how == "row":
            lines[row] = [cell]
        elif how == "add":
            lines[row].append(cell)
        elif how == "header":
            lines[0][column % len(lines[0])] = cell
        elif how == "all":
            lines = [lines[0], *([*line, cell] for line in lines[1:])]
        else:
            lines.insert(row, list(lines[row]))
    file.write_bytes("\n".join(",".join(line) for line in lines).encode("utf-8", "surrogateescape") + b"\n")
    return f"{file.name}: {str(drawn)[:300]}"


def change_ham(folder: Path, drawn: list) -> str:
    return _rewrite(folder / "HAM10000_metadata.csv", drawn)


def change_stoic(folder: Path, drawn: list) -> str:
    return _rewrite(folder / "metadata" / "reference.csv", drawn)


def change_parts(folder: Path, drawn: list) -> str:
    return _rewrite(folder / "split.csv", drawn)


def test_ham10000(fuzz, ham):
    pytest.importorskip("imagehash")
    fuzz("ham10000", ham, read_ham, change_ham, CHANGES)


def test_stoic(fuzz, stoic):
    fuzz("stoic", stoic, read_stoic, change_stoic, CHANGES)


def test_parts(fuzz, parts):
    fuzz("parts", parts, read_parts, change_parts, CHANGES)
