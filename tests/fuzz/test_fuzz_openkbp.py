# SPDX-License-Identifier: Apache-2.0
"""Broken OpenKBP patients, data lists and predictions."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from harness import Wrong
from hypothesis import strategies as st

from ctan_networks.datasets.case_reader import CaseReader
from ctan_networks.datasets.inference_cases import inference_list
from ctan_networks.datasets.openkbp.data_list import openkbp_list
from ctan_networks.datasets.openkbp.files import GRID, write_sparse_csv, write_voxel_dimensions
from ctan_networks.datasets.openkbp.reader import OpenKBPReader

STRUCTURES = ("Brainstem", "PTV70")


def write_patient(folder: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    array = np.zeros(math.prod(GRID))
    array[rng.choice(array.size, 150, replace=False)] = rng.uniform(0.5, 1500, 150)
    write_sparse_csv(folder / "ct.csv", array)
    write_sparse_csv(folder / "dose.csv", array / 20)
    for name in ("possible_dose_mask", *STRUCTURES):
        write_sparse_csv(folder / f"{name}.csv", array > 700, mask=True)
    write_voxel_dimensions(folder / "voxel_dimensions.csv", (3.5, 3.5, 2.5))


def expected(file: Path, mask: bool, grid: tuple[int, int, int] = GRID) -> np.ndarray:
    """The format by its definition, a line at a time."""
    lines = file.read_bytes().replace(b"\r\n", b"\n").split(b"\n")
    if lines[0] != b",data":
        raise Wrong(f"{file.name} was read in spite of its header {lines[0][:40]!r}")
    array = np.zeros(math.prod(grid))
    seen = set()
    for line in lines[1:-1] if lines[-1] == b"" else lines[1:]:
        match = re.fullmatch(rb"\s*([+-]?\d+)\s*,\s*(|[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*", line)
        if match is None or bool(match[2]) is mask:
            raise Wrong(f"{file.name} was read in spite of the line {line[:40]!r}")
        index = int(match[1])
        if index in seen or not 0 <= index < array.size:
            raise Wrong(f"{file.name} was read in spite of the index {index}")
        seen.add(index)
        array[index] = float(match[2] or 1)
    if not np.isfinite(array).all():
        raise Wrong(f"{file.name} was read in spite of infinite values")
    return array.reshape(grid)


def compare(file: Path, array: np.ndarray, shift: float = 0.0) -> None:
    mask = file.stem in (*STRUCTURES, "possible_dose_mask")
    wanted = expected(file, mask)
    if not np.allclose(array.astype(np.float64) + shift, wanted, rtol=1e-6, atol=1e-3):
        raise Wrong(f"{file.name} has other values than its text")


def read_patient(folder: Path) -> str:
    reader = OpenKBPReader(STRUCTURES)
    for name in ("dose", "possible_dose_mask", "ct"):
        array, meta = reader.get_data(folder / f"{name}.csv")
        compare(folder / f"{name}.csv", array, 1024.0 if name == "ct" else 0.0)
        spacing = np.linalg.norm(meta["affine"][:3, :3], axis=0)
        if not (np.isfinite(spacing).all() and spacing.min() > 1e-3 and spacing.max() < 1e3):
            raise Wrong(f"voxels of {spacing} mm")
    bits, meta = CaseReader(STRUCTURES).get_data(folder)
    for k, name in enumerate(STRUCTURES):
        if meta["present"][k]:
            compare(folder / f"{name}.csv", (bits >> k) & 1)
        elif (folder / f"{name}.csv").exists():
            raise Wrong(f"{name} is there and was passed over")
    return "read"


NUMBERS = st.one_of(
    st.integers(-5, 5),
    st.sampled_from(
        [2**21 - 1, 2**21, 2**31 - 1, 2**31, 2**32 + 5, 2**63 - 1, 2**63, 2**64 + 5, 10**12, 10**40, -(2**31), -(2**63)]
    ),
).map(str)
VALUES = st.one_of(
    st.floats(width=64).map(str),
    NUMBERS,
    st.sampled_from(
        ["", " ", "1_0", "0x1p3", "1e400", "1,2", '"1"', "TRUE", "None", "1.5.5", "1e", "\u0661", "NA", "\0"]
    ),
)
LINES = st.lists(
    st.tuples(st.one_of(NUMBERS, VALUES), st.sampled_from([",", ",", ",", ";", "", ",,"]), VALUES), max_size=8
)
ENDS = st.sampled_from(["\n", "\n", "\r\n", "\r", "\n\n", ""])
TEXTS = st.tuples(
    st.sampled_from(["ct.csv", "dose.csv", "possible_dose_mask.csv", "PTV70.csv", "voxel_dimensions.csv"]),
    st.sampled_from([",data\n", ",data\r\n", ",data", "data\n", "\ufeff,data\n", '",data"\n', ""]),
    LINES,
    ENDS,
    st.sampled_from([1, 1, 1, 1, 3, 10**6]),
)


def write_text(folder: Path, drawn: tuple) -> str:
    name, head, lines, end, times = drawn
    body = "".join(a + comma + b + end for a, comma, b in lines)
    (folder / name).write_bytes((head + body * times).encode("utf-8", "surrogatepass"))
    return f"{name}: {head!r} {body!r} x {times}"


@pytest.fixture
def patient(tmp_path):
    folder = tmp_path / "template"
    write_patient(folder, 0)
    return folder


def test_patient(fuzz, patient):
    fuzz("openkbp", patient, read_patient, write_text, TEXTS)


@pytest.fixture
def data_set(tmp_path):
    root = tmp_path / "template"
    for k in (1, 2):
        write_patient(root / "provided-data" / "train-pats" / f"pt_{k}", k)
        patient = root / "provided-data" / "train-pats" / f"pt_{k}"
        (root / "predictions").mkdir(exist_ok=True)
        (root / "predictions" / f"pt_{k}.csv").write_bytes((patient / "dose.csv").read_bytes())
    return root


def read_lists(folder: Path) -> str:
    items = openkbp_list(folder, "train", predictions=folder / "predictions", structures=STRUCTURES)
    reader = CaseReader(STRUCTURES)
    for item in items:
        for key in ("image", "segmentation", "dose", "mask", "predicted_dose"):
            if key in item:
                array, _ = reader.get_data(Path(item[key]))
                if key not in ("segmentation", "image"):
                    compare(Path(item[key]), array)
    for item in inference_list(folder, "train"):
        reader.get_data(Path(item["image"]))
    return "read"


def test_lists_and_predictions(fuzz, data_set):
    fuzz("openkbp lists and predictions", data_set, read_lists)
