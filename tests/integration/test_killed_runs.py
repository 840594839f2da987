# SPDX-License-Identifier: Apache-2.0
"""Trainings that are killed and go on end as the one that was not, bit for bit."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from ctan_networks.datasets.openkbp.phantoms import openkbp_cohort
from ctan_networks.handlers.run_lock import lock_run

ROOT = Path(__file__).resolve().parents[2]
EPOCHS = 6


@pytest.fixture(scope="module")
def start(bundle_copy, tmp_path_factory) -> Callable[..., subprocess.Popen]:
    """Start a training of four steps an epoch in a process of its own."""
    data = openkbp_cohort(tmp_path_factory.mktemp("cohort"), train=6, validation=1)
    bundle = bundle_copy("openkbp_ctan", small={}, quick={})
    cache = tmp_path_factory.mktemp("cache")

    def begin(output: Path, *more: str, limit: int | None = None, **settings: Any) -> subprocess.Popen:
        options = {
            "dataset_dir": data,
            "output_dir": str(output),
            "cache_dir": str(cache),
            "epochs": EPOCHS,
            "val_interval": 2,
            "steps_per_epoch": 4,
            "num_workers": 1,
            "weighting": "dwa",
            "crop_size": [32, 32, 32],
            "network_def#channels": [8, 16, 16],
            "network_def#dropout": 0.1,
        } | settings
        arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]

        def limited() -> None:
            # A shell without job control starts what runs in the background deaf to Ctrl-C.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        return subprocess.Popen(
            [
                *(sys.executable, "-W", "ignore", "-m", "monai.bundle", "run"),
                *("--config_file", str(bundle.folder / "configs" / "train.json")),
                *arguments,
                *more,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            preexec_fn=limited,
            start_new_session=True,
        )

    return begin


def finish(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output[-3000:]
    return output


def kill_after(process: subprocess.Popen, output: Path, epoch: int, wait: float, number: signal.Signals) -> str:
    """Wait for a new checkpoint, of this epoch at least, and some moments more, then signal; the process's output.

    A run that is through before, on a machine with other work, is not signalled.

    Ctrl-C goes to the loader's workers as well, as from a terminal.
    """
    wanted = max(epoch, saved(output) + 1)
    deadline = time.monotonic() + 600
    seen = stamp(output)
    while process.poll() is None:
        assert time.monotonic() < deadline
        # A look at the file's time costs nothing; reading it over and over would let the run get away.
        if stamp(output) != seen:
            seen = stamp(output)
            if saved(output) >= wanted:
                break
        time.sleep(0.01)
    time.sleep(wait)
    if number == signal.SIGINT and process.poll() is None:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    return process.communicate(timeout=120)[0]


def stamp(output: Path) -> int:
    try:
        return (output / "last.pt").stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def saved(output: Path) -> int:
    """Epoch of the last checkpoint; 0 without one."""
    try:
        return int(torch.load(output / "last.pt", weights_only=True)["epoch"])
    except FileNotFoundError:
        return 0


def assert_same(one: Path, other: Path) -> None:
    states = [torch.load(folder / "last.pt", weights_only=True) for folder in (one, other)]
    assert states[0]["epoch"] == states[1]["epoch"] == EPOCHS
    flat = [dict(leaves(state["objects"])) for state in states]
    assert flat[0].keys() == flat[1].keys()
    for name, value in flat[0].items():
        same = torch.equal(value, flat[1][name]) if isinstance(value, torch.Tensor) else value == flat[1][name]
        assert same, name
    for name in ("model.pt", "history.csv"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    history = pd.read_csv(other / "history.csv")
    assert not history.duplicated(["epoch", "name"]).any() and set(history["epoch"]) == set(range(1, EPOCHS + 1))
    assert not [p.name for p in other.iterdir() if ".writing-" in p.name]


def leaves(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from leaves(part, f"{name}/{key}")
    elif isinstance(value, list | tuple):
        for k, part in enumerate(value):
            yield from leaves(part, f"{name}/{k}")
    else:
        yield name, value


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("whole") / "run"
    finish(start(output))
    return output


def test_killed_and_terminated_and_gone_on_with(start, whole, tmp_path):
    output = tmp_path / "run"
    kill_after(start(output), output, 1, 0.2, signal.SIGKILL)
    assert 1 <= saved(output) < EPOCHS
    # What a process that was killed while it wrote leaves behind.
    (output / ".last.pt.writing-abcdefgh.pt").write_bytes(b"half")
    told = kill_after(start(output, "--resume", "True"), output, 2, 0.1, signal.SIGTERM)
    assert "resumed" in told and "STOPPED (SIGTERM)" in told and "--resume True" in told
    # The last checkpoint is damaged by something else: the one before counts.
    last = output / "last.pt"
    last.write_bytes(last.read_bytes()[:1000])
    told = finish(start(output, "--resume", "True"))
    assert "going on from" in told and "last_previous.pt" in told
    assert_same(whole, output)


def test_a_second_training_into_the_folder_is_refused(start, tmp_path):
    output = tmp_path / "run"
    lock = lock_run(output)
    assert lock is not None
    second = start(output)
    told, _ = second.communicate(timeout=120)
    lock.release()
    assert second.returncode != 0 and f"another training writes to {output}" in told.strip().splitlines()[-1]
    assert sorted(p.name for p in output.glob("[!.]*")) == ["tensorboard"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("architecture", "task"), [("stl", "segmentation"), ("stl", "dose"), ("hps", ""), ("mtan", ""), ("ctan", "")]
)
def test_every_architecture_and_signal(start, tmp_path, architecture, task, number):
    settings = {"architecture": architecture} | ({"task": task} if task else {})
    finish(start(tmp_path / "whole", **settings))
    output = tmp_path / "run"
    for epoch, wait in ((1, 0.0), (2, 0.4), (3, 0.15)):
        told = kill_after(start(output, "--resume", "True", **settings), output, epoch, wait, number)
        assert number == signal.SIGKILL or "STOPPED" in told or "Engine run finished" in told
    finish(start(output, "--resume", "True", **settings))
    assert_same(tmp_path / "whole", output)


@pytest.mark.slow
def test_a_full_disk_stops_and_loses_nothing(start, whole, tmp_path):
    """No file may grow beyond a limit: neither checkpoints nor, in a new folder, cache entries can be written."""
    output = tmp_path / "run"
    kill_after(start(output), output, 1, 0.0, signal.SIGKILL)
    before = (output / "last.pt").read_bytes()
    # Without a worker, whose batches come in files of shared memory, which the limit counts too.
    settings = {"cache_dir": str(tmp_path / "cache"), "num_workers": 0}
    process = start(output, "--resume", "True", limit=len(before) // 2, **settings)
    told, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "cannot write" in told.strip().splitlines()[-1] and "--resume True" in told.strip().splitlines()[-1]
    assert (output / "last.pt").read_bytes() == before
    assert not [p.name for folder in (output, tmp_path / "cache") for p in folder.iterdir() if ".writing-" in p.name]
    finish(start(output, "--resume", "True"))
    assert_same(whole, output)
