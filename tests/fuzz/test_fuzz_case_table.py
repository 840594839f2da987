# SPDX-License-Identifier: Apache-2.0
"""Broken lists of one's own cases, in CSV and in JSON, with what they name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from harness import Wrong
from hypothesis import strategies as st
from PIL import Image
from test_fuzz_tables import CELLS, CHANGES, _rewrite, rows_of

from ctan_networks.datasets.table.data_list import case_table
from ctan_networks.datasets.table.reader import TaskReader

TASKS = {
    "seg": {"kind": "segmentation", "out_channels": 2},
    "grade": {"kind": "classification", "out_channels": 3},
}
CLASSES = {"grade": ["low", "mid", "high"]}


def read_csv(folder: Path) -> str:
    return read(folder, folder / "cases.csv")


def read_json(folder: Path) -> str:
    return read(folder, folder / "dataset.json")


def read(folder: Path, file: Path) -> str:
    items = case_table(file, TASKS, CLASSES)
    for item in items:
        dims = 2 if item["image"].endswith((".png", ".jpg")) else 3
        for key in ("image", "seg"):
            if key in item:
                array, _ = TaskReader(dims, 1 if key == "image" else None).get_data(Path(item[key]))
                if not np.isfinite(array).all() and key == "image":
                    raise Wrong(f"{item[key]} is not finite")
    table = rows_of(folder / "cases.csv") if file.suffix == ".csv" else None
    known = {row.get("case"): row for row in table or []}
    for item in items:
        said = (known.get(item["case"]) or {}).get("grade")
        if said in CLASSES["grade"] and item.get("grade") != CLASSES["grade"].index(said):
            raise Wrong(f"{item} where the table says {known[item['case']]}")
    return "read"


@pytest.fixture
def template(tmp_path):
    folder = tmp_path / "template"
    folder.mkdir()
    rng = np.random.default_rng(0)
    lines, entries = ["case,image,seg,grade,group,split"], []
    for k in range(6):
        volume = rng.integers(-1000, 400, (5, 4, 3)).astype(np.int16)
        names = (f"i{k}.nii.gz", f"s{k}.nii.gz")
        nib.save(nib.Nifti1Image(volume, np.diag([2.0, 2, 3, 1])), folder / names[0])
        nib.save(nib.Nifti1Image((volume % 3).astype(np.uint8), np.diag([2.0, 2, 3, 1])), folder / names[1])
        grade = CLASSES["grade"][k % 3]
        lines.append(f"c{k},{names[0]},{names[1]},{grade},g{k},{['train', 'validation', 'test'][k // 2]}")
        entries.append({"case": f"c{k}", "image": names[0], "seg": names[1], "grade": grade, "group": f"g{k}"})
    Image.fromarray(rng.integers(0, 255, (20, 18)).astype(np.uint8)).save(folder / "p.png")
    Image.fromarray(rng.integers(0, 3, (20, 18)).astype(np.uint8)).save(folder / "q.png")
    lines.append("p,p.png,q.png,,g9,train")
    (folder / "cases.csv").write_text("\n".join(lines) + "\n")
    lists = {"training": entries[:2], "validation": entries[2:4], "test": entries[4:]}
    (folder / "dataset.json").write_text(json.dumps(lists, indent=1))
    return folder


@pytest.fixture
def only_csv(template):
    (template / "dataset.json").unlink()
    return template


@pytest.fixture
def only_json(template, tmp_path):
    folder = tmp_path / "json"
    shutil.copytree(template, folder, ignore=shutil.ignore_patterns("*.csv", "*.png"))
    return folder


def change_csv(folder: Path, drawn: list) -> str:
    return _rewrite(folder / "cases.csv", drawn)


VALUES = st.one_of(
    CELLS.map(lambda text: text.encode("utf-8", "replace").decode()),
    st.sampled_from(
        [None, True, 0, 1.0, 1.5, -1, 10**400, float("nan"), float("inf"), [], ["i0.nii.gz"], {}, {"a": 1}]
    ),
)
JSON_CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["value", "value", "value", "entry", "section", "deep"]),
        st.sampled_from(["training", "validation", "test"]),
        st.integers(0, 1),
        st.sampled_from(["case", "image", "seg", "grade", "group", "split", "label"]),
        VALUES,
    ),
    min_size=1,
    max_size=3,
)


def change_json(folder: Path, drawn: list) -> str:
    content = json.loads((folder / "dataset.json").read_text())
    nested = False
    for how, section, k, key, value in drawn:
        entries = content[section]
        if how == "section":
            content[section] = value
        elif isinstance(entries, list) and k < len(entries):
            if how == "entry":
                entries[k] = value
            elif isinstance(entries[k], dict):
                entries[k][key] = value
        nested = nested or how == "deep"
    text = json.dumps(content)
    if nested:
        text = text.replace('"group"', '"more": ' + "[" * 100_000 + "]" * 100_000 + ', "group"', 1)
    (folder / "dataset.json").write_text(text)
    return str(drawn)[:300]


def test_csv(fuzz, only_csv):
    fuzz("list of cases, csv", only_csv, read_csv, change_csv, CHANGES)


def test_json(fuzz, only_json):
    fuzz("list of cases, json", only_json, read_json, change_json, JSON_CHANGES)
