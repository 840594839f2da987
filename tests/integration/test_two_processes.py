# SPDX-License-Identifier: Apache-2.0
"""The bundles in two processes, as torchrun starts them: the same training, scores and files as in one."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.distributed as dist
from PIL import Image

from ctan_networks.datasets.ham10000.phantoms import ham10000_cohort
from ctan_networks.datasets.openkbp.phantoms import openkbp_cohort
from ctan_networks.datasets.prostate.phantoms import prostate_cohort
from ctan_networks.datasets.stoic.phantoms import stoic_cohort

ROOT = Path(__file__).resolve().parents[2]
BUNDLES = {
    "openkbp_ctan": (
        lambda folder: openkbp_cohort(folder, train=4, validation=3),
        {"network_def#channels": [4, 8, 12], "crop_size": [32, 32, 32]},
    ),
    "prostate_ctan": (
        lambda folder: prostate_cohort(folder, patients=12),
        {"network_def#channels": [4, 8, 12], "crop_size": [32, 32, 32]},
    ),
    "ham10000_ctan": (
        lambda folder: ham10000_cohort(folder, lesions=24),
        {"network_def#channels": [16, 16, 16], "batch_size": 4},
    ),
    "stoic_ctan": (
        lambda folder: stoic_cohort(folder, patients=20),
        {"network_def#channels": [4, 8, 12], "batch_size": 2, "image_size": [48, 48, 48], "pixdim": [6.0, 6.0, 6.0]},
    ),
}
PICTURE = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=]+)")
WRITTEN = re.compile(r"written \d{4}-\d\d-\d\d \d\d:\d\d UTC")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Callable[[str], str]:
    made: dict[str, str] = {}

    def make(name: str) -> str:
        if name not in made:
            made[name] = BUNDLES[name][0](tmp_path_factory.mktemp(name))
        return made[name]

    return make


def run(processes: int, bundle, configs: tuple[str, ...], options: dict, cwd: Path | None = None) -> None:
    """``monai.bundle run`` in one process, or in several of torchrun's."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nnodes=1", f"--nproc_per_node={processes}"]
    start = [*launcher, "-m", "monai.bundle"] if processes > 1 else ["-m", "monai.bundle"]
    given = [part for key, value in options.items() for part in (f"--{key}", str(value).replace(" ", ""))]
    done = subprocess.run(
        [sys.executable, *start, "run", "--config_file", str(bundle.configs(*configs)), *given],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        cwd=cwd,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("name", list(BUNDLES))
@pytest.mark.parametrize("files", [("train", "multi_gpu_train"), ("train", "evaluate", "multi_gpu_evaluate")])
def test_monai_finds_every_property_with_the_overlays(bundles, bundle_copy, cohort, tmp_path, monkeypatch, name, files):
    environment = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 0}
    for key, value in environment.items():
        monkeypatch.setenv(key, str(value))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    bundle = bundle_copy(name, small={}, quick={})
    places = {
        "dataset_dir": cohort(name),
        "output_dir": str(tmp_path / "run"),
        "cache_dir": str(tmp_path / "cache"),
        "checkpoint": str(bundles / name / "models" / "model.pt"),
    }
    workflow = bundle.workflow(files, "train", **places)
    try:
        assert dist.get_world_size() == 1 and dist.get_backend() == "gloo"
        assert workflow.check_properties() == []
        network = workflow.parser.get_parsed_content("train#trainer").network if len(files) == 2 else None
        assert network is None or isinstance(network, torch.nn.parallel.DistributedDataParallel)
        assert type(workflow.evaluator).__name__ == "DistributedEvaluator"
    finally:
        workflow.finalize()
    assert not dist.is_initialized()


@pytest.mark.slow
@pytest.mark.parametrize("weighting", ["equal", "dwa", "uncertainty"])
def test_two_processes_train_as_one_with_twice_the_batch(bundle_copy, cohort, tmp_path, weighting):
    bundle = bundle_copy("openkbp_ctan", small={}, quick={})
    options = BUNDLES["openkbp_ctan"][1] | {
        "dataset_dir": cohort("openkbp_ctan"),
        "cache_dir": tmp_path / "cache",
        "num_workers": 0,
        "weighting": weighting,
        "epochs": 4,
        "val_interval": 2,
    }
    one = options | {"output_dir": tmp_path / "one", "train#dataloader#batch_size": 2}
    run(1, bundle, ("train",), one)
    run(2, bundle, ("train", "multi_gpu_train"), options | {"output_dir": tmp_path / "two"}, cwd=tmp_path)
    wanted, got = (pd.read_csv(tmp_path / folder / "history.csv") for folder in ("one", "two"))
    assert list(wanted["name"]) == list(got["name"]) and list(wanted["epoch"]) == list(got["epoch"])
    of_training = wanted["name"].str.startswith(("loss_", "weight_"))
    assert of_training.sum() == 16
    assert (wanted["value"] - got["value"])[of_training].abs().max() < 1e-4
    if weighting == "dwa":
        # Half of it in two processes and half in one, either way round, ends where one process does.
        schedule = options | {"total_steps": 8}
        for folder, first in (("one_two", 1), ("two_one", 2)):
            place = schedule | {"output_dir": tmp_path / folder}
            for processes, last in ((first, {"epochs": 2}), (3 - first, {"epochs": 4, "resume": True})):
                if processes == 1:
                    run(1, bundle, ("train",), place | last | {"train#dataloader#batch_size": 2})
                else:
                    run(2, bundle, ("train", "multi_gpu_train"), place | last)
            parts = pd.read_csv(tmp_path / folder / "history.csv")
            assert list(parts["name"]) == list(wanted["name"])
            assert (wanted["value"] - parts["value"])[of_training].abs().max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", list(BUNDLES))
def test_every_bundle_trains_in_two_processes_and_its_evaluation_is_that_of_one(bundle_copy, cohort, tmp_path, name):
    bundle = bundle_copy(name, small={}, quick={})
    options = BUNDLES[name][1] | {
        "dataset_dir": cohort(name),
        "cache_dir": tmp_path / "cache",
        "output_dir": tmp_path / "run",
        "num_workers": 0,
        "epochs": 1,
        "val_interval": 1,
    }
    run(2, bundle, ("train", "multi_gpu_train"), options)
    run(1, bundle, ("train", "evaluate"), options | {"evaluation_dir": tmp_path / "one"})
    overlay = ("train", "evaluate", "multi_gpu_evaluate")
    run(2, bundle, overlay, options | {"evaluation_dir": tmp_path / "two"}, cwd=tmp_path)
    files = sorted(p.name for p in (tmp_path / "one").iterdir())
    assert files == sorted(p.name for p in (tmp_path / "two").iterdir()) and "metrics.csv" in files
    for file in files:
        texts = [(tmp_path / folder / file).read_text() for folder in ("one", "two")]
        one, two = (PICTURE.sub("", WRITTEN.sub("written", text)) for text in texts)
        assert one == two, file
        # Lines that cross are blended; a process that drew other things before may round a pixel the other way.
        for first, second in zip(*(PICTURE.findall(text) for text in texts), strict=True):
            drawn = [np.asarray(Image.open(io.BytesIO(b64decode(p))).convert("RGB"), int) for p in (first, second)]
            assert drawn[0].shape == drawn[1].shape and abs(drawn[0] - drawn[1]).max() <= 1, file
    summary = json.loads((tmp_path / "two" / "summary.json").read_text())
    assert summary["cases"] == pd.read_csv(tmp_path / "one" / "metrics.csv")["case"].nunique() > 1


@pytest.mark.slow
def test_more_processes_than_cases(bundle_copy, tmp_path):
    bundle = bundle_copy("openkbp_ctan", small={}, quick={})
    data = openkbp_cohort(tmp_path / "data", train=2, validation=1)
    options = BUNDLES["openkbp_ctan"][1] | {
        "dataset_dir": data,
        "cache_dir": tmp_path / "cache",
        "output_dir": tmp_path / "run",
        "num_workers": 0,
        "epochs": 1,
        "val_interval": 1,
    }
    run(2, bundle, ("train", "multi_gpu_train"), options)
    run(1, bundle, ("train", "evaluate"), options | {"evaluation_dir": tmp_path / "one"})
    run(2, bundle, ("train", "evaluate", "multi_gpu_evaluate"), options | {"evaluation_dir": tmp_path / "two"})
    for file in ("metrics.csv", "summary.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
