# SPDX-License-Identifier: Apache-2.0
"""One seed, one result: whatever the number of loader workers, the process, and the version of Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ctan_networks.datasets.ham10000.phantoms import ham10000_cohort
from ctan_networks.datasets.openkbp.phantoms import openkbp_cohort

ROOT = Path(__file__).resolve().parents[2]
QUICK = {
    "openkbp_ctan": {"crop_size": [32, 32, 32]},
    "ham10000_ctan": {"image_size": [48, 48], "batch_size": 4, "split_seed": 1},
}


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory) -> dict[str, str]:
    """Bundle to a small phantom cohort."""
    folder = tmp_path_factory.mktemp("cohorts")
    return {
        "openkbp_ctan": openkbp_cohort(folder, train=4, validation=1),
        "ham10000_ctan": ham10000_cohort(folder, lesions=21),
    }


def train(bundle: str, data: str, output: Path, python: str = sys.executable, env: Any = None, **options: Any) -> Path:
    """Two epochs in a process of its own, which decodes every case itself."""
    settings = {
        "dataset_dir": data,
        "output_dir": output,
        "cache_dir": output.with_name(f"{output.name}_cache"),
        "epochs": 2,
        "val_interval": 1,
        "num_workers": 0,
        "recipe_name": "phantom",
        "network_def#channels": [16, 16, 16],
        "network_def#dropout": 0.1,
    }
    settings |= QUICK[bundle] | options
    config = ROOT / "bundles" / bundle / "configs" / "train.json"
    done = subprocess.run(
        [python, "-W", "ignore", "-m", "monai.bundle", "run", "--config_file", str(config)]
        + [text for key, value in settings.items() for text in (f"--{key}", str(value))],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | (env or {}),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return output


def weights(output: Path) -> dict[str, torch.Tensor]:
    """Network, its average, loss and optimiser after the last epoch."""
    return dict(tensors(torch.load(output / "last.pt", weights_only=True)["objects"]))


def tensors(value: Any, name: str = "") -> Any:
    if isinstance(value, dict | list | tuple):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from tensors(part, f"{name}/{key}")
    elif isinstance(value, torch.Tensor):
        yield name, value


def differing(one: Path, other: Path) -> list[str]:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys() and len(first) > 20
    return [name for name, value in first.items() if not torch.equal(value, second[name])]


@pytest.mark.slow
@pytest.mark.parametrize("bundle", QUICK)
def test_same_weights_bit_for_bit_with_any_number_of_workers(bundle, cohorts, tmp_path):
    data = cohorts[bundle]
    alone = train(bundle, data, tmp_path / "0", env={"PYTHONHASHSEED": "1"})
    for workers in (1, 4):
        hashes = {"PYTHONHASHSEED": str(workers + 1)}
        other = train(bundle, data, tmp_path / str(workers), num_workers=workers, env=hashes)
        assert differing(alone, other) == []
        for name in ("model.pt", "history.csv"):
            assert (alone / name).read_bytes() == (other / name).read_bytes(), name
    # Without this, weights that nothing changes would pass.
    another = train(bundle, data, tmp_path / "another", seed=1)
    assert len(differing(alone, another)) > 20


@pytest.mark.slow
@pytest.mark.parametrize("bundle", QUICK)
def test_same_weights_in_other_versions_of_python(bundle, cohorts, tmp_path):
    """Each comes with its own NumPy, SciPy and Pillow, so that the last bit may differ."""
    others = os.environ.get("CTAN_PYTHONS", "").split(os.pathsep)
    if not others[0]:
        pytest.skip("CTAN_PYTHONS names no other interpreters, such as /opt/v310/bin/python:/opt/v312/bin/python")
    here = train(bundle, cohorts[bundle], tmp_path / "here")
    expected = weights(here)
    for number, python in enumerate(others):
        there = train(bundle, cohorts[bundle], tmp_path / str(number), python=python)
        found = weights(there)
        assert found.keys() == expected.keys()
        worst = max((found[name].double() - value.double()).abs().max().item() for name, value in expected.items())
        same = len(expected) - len(differing(here, there))
        print(f"{bundle}, {python}: {same} of {len(expected)} tensors bit for bit, greatest difference {worst:.2g}")
        assert worst <= 1e-6, python
