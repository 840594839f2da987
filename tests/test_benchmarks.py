# SPDX-License-Identifier: Apache-2.0
"""The benchmarks run, print the table that is said, and their arithmetic is right."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
ARCHITECTURES = ["ctan", "mtan", "hps", "stl segmentation"]
# First cells of the rows of each table, in order; a row's cell begins so.
SCRIPTS = {
    "backends": ["eager", "onnx", "eager, bfloat16", "eager", "onnx", "eager, bfloat16"],
    "dvh": ["definition", "compute_dvh_metrics"],
    "growth": ["32^3", "48^3", "1", "2", "2"],
    "inference": [*ARCHITECTURES, "stl dose", "the two stl", *ARCHITECTURES, "stl diagnosis", "the two stl"],
    "inference_case": ["openkbp_ctan (phantoms)", "prostate_ctan (phantoms)", "ham10000_ctan (phantoms)"],
    "peers": ["CTAN (openkbp_ctan)", "SegResNet"],
    "processes": ["1, batch 2", "2, batch 1 each"],
    "reading": ["pandas.read_csv, numpy.put", "the same", "CaseReader", "openkbp_ctan", "ham10000_ctan", "stoic_ctan"],
    "training_step": [*ARCHITECTURES, "stl dose", "the two stl"],
    "waiting": ["openkbp_ctan", "prostate_ctan", "ham10000_ctan", "stoic_ctan"],
}
FAST = {"dvh", "inference"}


def run(script: str, *arguments: str) -> str:
    """What the script prints."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(FOLDER / f"{script}.py"), *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def tables(text: str) -> list[list[list[str]]]:
    """The tables of an output: for each its rows, header first, each a list of cells."""
    found: list[list[list[str]]] = []
    lines = text.splitlines()
    for before, line in pairwise(["", *lines]):
        if line.startswith("|") and not line.startswith("|---"):
            if not before.startswith("|"):
                found.append([])
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def test_every_script_is_tested() -> None:
    there = {file.stem for file in FOLDER.glob("*.py")} - {"common", "architectures"}
    assert there == set(SCRIPTS)


@pytest.mark.parametrize(
    "script", [s if s in FAST else pytest.param(s, marks=pytest.mark.slow) for s in sorted(SCRIPTS)]
)
def test_a_quick_run_prints_its_rows(script: str) -> None:
    printed = run(script, "--quick")
    found = tables(printed)
    rows = [row for header, *body in found for row in body]
    assert len(rows) == len(SCRIPTS[script])
    assert all(row[0].startswith(name) for row, name in zip(rows, SCRIPTS[script], strict=True)), rows
    assert all(len(row) == len(table[0]) for table in found for row in table)
    # Versions, threads and clock stand above each table: a number without them says nothing.
    assert printed.count("torch ") == printed.count("1 threads, ") == len(found)
    assert not any(cell in ("nan", "inf") for row in rows for cell in row)


@pytest.fixture
def common(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The scripts' shared module, which they import as one beside them."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("common")


def test_functions_take_turns_and_the_first_round_is_not_counted(common: ModuleType) -> None:
    calls: list[str] = []
    slow = {"a": 0.2, "b": 0.0}

    def work(name: str) -> None:
        # Only the first call of a is slow, as one that compiles or fills a cache.
        time.sleep(slow[name] if name not in calls else 0.01)
        calls.append(name)

    times = common.interleaved({name: partial(work, name) for name in slow}, rounds=3)
    assert calls == ["a", "b"] * 4
    assert len(times["a"]) == len(times["b"]) == 3
    assert all(0.01 <= t < 0.2 for t in times["a"])


def test_ratio_is_of_the_same_round(common: ModuleType) -> None:
    # The machine is ten times slower in the second round: the medians' ratio would be 2 or 20 with it in one only.
    one, other = [2.0, 20.0, 2.2], [1.0, 10.0, 1.0]
    assert common.ratio(one, other) == 2.0
    assert common.summed({"a": one, "b": other}, ["a", "b"]) == [3.0, 30.0, 3.2]
    assert common.spread([0.002, 0.001, 0.010], 1000, 1) == "2.0 (1.0 to 10.0)"


TAKES = """
import common

def takes(mebibytes):
    block = b"x" * (2 * mebibytes * 2**20)
    del block
    before = common.reset_peak()
    block = b"x" * (mebibytes * 2**20)
    del block
    return common.peak_memory() - before
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a peak cannot be reset")
def test_peak_memory_is_of_a_process_of_its_own(
    common: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "takes.py").write_text(TAKES)
    monkeypatch.syspath_prepend(str(tmp_path))
    # More here than there, and earlier there than what is measured: neither may be counted.
    block = b"x" * (900 * 2**20)
    del block
    before = common.peak_memory()
    assert 290 < common.in_a_process(importlib.import_module("takes").takes, 300) < 330
    assert common.peak_memory() - before < 290
