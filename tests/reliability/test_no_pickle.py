# SPDX-License-Identifier: Apache-2.0
"""No unrestricted pickle is loaded: weights, checkpoints, caches and arrays are read as plain values or not at all."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from harmful import Harmful
from PIL import Image

from ctan_networks.datasets.table.reader import TaskReader
from ctan_networks.errors import DataError
from ctan_networks.tools.packing.network_files import export_network

ROOT = Path(__file__).resolve().parents[2]
# Calls that unpickle whatever they are given, unless told otherwise; and the words that tell them.
READERS = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
# These execute what they read. One place opens exported networks; see ctan_networks.engines.backends.
PROGRAMS = {"torch.export.load", "torch.jit.load"}
MODULES = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def calls(file: Path) -> list[tuple[str, ast.Call]]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("folder", ["ctan_networks", "benchmarks"])
def test_no_call_in_the_code_reads_pickles(folder):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    found = 0
    for file in files:
        for name, call in calls(file):
            place = f"{file.relative_to(ROOT)}:{call.lineno}"
            if name in READERS or name == "numpy.load":
                word, wanted = READERS[name.replace("numpy.", "np.")]
                given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
                assert given.get(word) == str(wanted), place
                found += 1
            assert name not in PROGRAMS or file.name == "backends.py", place
            assert not name.endswith("read_pickle"), place
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not MODULES & {name.partition(".")[0] for name in names}, file
    assert found or folder == "benchmarks"


@pytest.fixture
def harmful(tmp_path) -> tuple[Path, Path]:
    """Weights that are a pickle, and what would be there if they were loaded."""
    mark, file = tmp_path / "executed", tmp_path / "model.pt"
    torch.save({"weight": Harmful(mark)}, file)
    torch.load(file, weights_only=False)
    assert mark.exists()
    mark.unlink()
    return file, mark


def run(*configs: str, **options: object) -> str:
    files = str([str(ROOT / "bundles" / "ham10000_ctan" / "configs" / f"{name}.json") for name in configs])
    given = [text for key, value in options.items() for text in (f"--{key}", str(value))]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", "--config_file", files, *given],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode != 0, done.stdout[-2000:]
    return done.stdout + done.stderr


def test_weights_of_an_inference(harmful, tmp_path):
    file, mark = harmful
    Image.new("RGB", (64, 64)).save(tmp_path / "a.jpg")
    said = run("inference", dataset_dir=tmp_path / "a.jpg", output_dir=tmp_path / "out", checkpoint=file)
    assert "eights" in said and not mark.exists() and not list((tmp_path / "out").glob("*"))


@pytest.mark.slow
def test_weights_of_an_evaluation_and_checkpoint_of_a_resume(harmful, tmp_path):
    file, mark = harmful
    for name in ("last.pt", "last_previous.pt"):
        (tmp_path / "run").mkdir(exist_ok=True)
        shutil.copy(file, tmp_path / "run" / name)
    places = {"dataset_dir": "$ham10000.ham10000_cohort(@cache_dir)", "cache_dir": tmp_path / "cache"}
    run("train", "evaluate", output_dir=tmp_path / "other", checkpoint=file, **places)
    said = run("train", output_dir=tmp_path / "run", resume=True, **places)
    assert "cannot resume" in said and not mark.exists()


def test_weights_of_an_export(harmful, tmp_path):
    file, mark = harmful
    bundle = tmp_path / "ham10000_ctan"
    left_out = shutil.ignore_patterns("runs", "cache", "phantom", "eval", "*.pt")
    shutil.copytree(ROOT / "bundles" / "ham10000_ctan", bundle, ignore=left_out)
    (bundle / "models").mkdir(exist_ok=True)
    shutil.copy(file, bundle / "models" / "model.pt")
    with pytest.raises(Exception, match="weights_only|Weights only"):
        export_network(bundle, "ts")
    assert not mark.exists()


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_arrays(tmp_path, name):
    mark, file = tmp_path / "executed", tmp_path / name
    array = np.array([Harmful(mark)], dtype=object)
    np.save(file, array) if name == "a.npy" else np.savez(file, a=array)
    mark.unlink(missing_ok=True)
    with pytest.raises(DataError, match=name):
        TaskReader().get_data(file)
    assert not mark.exists()
