# SPDX-License-Identifier: Apache-2.0
"""Training in two processes equals training in one on both batches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ctan_networks.losses import (
    DiceBCELoss,
    MaskedCrossEntropyLoss,
    MaskedL1Loss,
    MultiTaskLoss,
    parameter_groups,
)
from ctan_networks.losses.over_ranks import mean_count

STEPS = 6
CASES = 2  # a process
# Tasks that have no label at all in a step, of the first and of the second process.
WITHOUT = {1: (["dose"], []), 2: (["segmentation", "diagnosis"], ["dose"]), 3: (["dose"], ["dose"]), 4: ([], "all")}
TASKS = ["segmentation", "dose", "diagnosis"]


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.InstanceNorm3d(4, affine=True), nn.ReLU())
        self.segmentation, self.dose, self.diagnosis = nn.Conv3d(4, 2, 1), nn.Conv3d(4, 1, 1), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        y = self.body(x)
        pooled = y.square().mean((2, 3, 4))
        return {"segmentation": self.segmentation(y), "dose": self.dose(y), "diagnosis": self.diagnosis(pooled)}


def share(step: int, process: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """A process's batch of a step, with other numbers of known voxels, empty structures and masks in each case."""
    draw = torch.Generator().manual_seed(10 * step + process)
    image = torch.rand(CASES, 1, 6, 6, 6, generator=draw)
    label = {
        "segmentation": (torch.rand(CASES, 2, 6, 6, 6, generator=draw) > 0.6).float(),
        "dose": 70 * torch.rand(CASES, 1, 6, 6, 6, generator=draw),
        "diagnosis": torch.randint(3, (CASES,), generator=draw),
        "mask": (torch.rand(CASES, 1, 6, 6, 6, generator=draw) > 0.2 + 0.5 * process).float(),
    }
    label["segmentation"][0, process] = torch.nan
    label["segmentation"][1, 1 - process, : step % 4] = torch.nan
    label["segmentation"][1, process] = 0
    without = WITHOUT.get(step, ([], []))[process]
    for task in TASKS if without == "all" else without:
        label[task].fill_(-1 if task == "diagnosis" else torch.nan)
    return image, label


def train(batches, weighting: str, several: bool) -> dict[str, list]:
    network = Network()
    loss = MultiTaskLoss(
        {
            "segmentation": DiceBCELoss(),
            "dose": MaskedL1Loss(scale=70),
            "diagnosis": MaskedCrossEntropyLoss(weight=[1.0, 2.0, 0.5], label_smoothing=0.1),
        },
        weighting,
        masks={"dose": "mask"},
    )
    optimizer = torch.optim.SGD(parameter_groups(loss, network, 0.0), lr=0.5)
    called = DistributedDataParallel(network) if several else network
    curve, means, weights = [], [], []
    for step, (image, label) in enumerate(batches):
        optimizer.zero_grad()
        loss(called(image), label).backward()
        optimizer.step()
        curve.append([[float(loss.task_losses[task]), loss.labelled[task]] for task in TASKS])
        if step % 2:
            means.append(list(loss.end_epoch().values()))
            weights.append(list(loss.weighting.weights.values()))
    if not several or dist.get_rank() == 0:
        # A validation loss waits for nobody: here only one process computes it.
        with torch.no_grad():
            loss(network(image), label)
        loss.eval()(network(image), label)
    parameters = [p.flatten().tolist() for p in network.parameters()]
    return {"curve": curve, "means": means, "weights": weights, "parameters": parameters}


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    batches = [share(step, rank) for step in range(STEPS)]
    results = {weighting: train(batches, weighting, True) for weighting in ("equal", "dwa", "uncertainty")}
    counts = mean_count(torch.tensor([3, 0]) if rank else torch.tensor([4, 0]))
    results["counts"] = counts.tolist()
    dist.barrier()
    dist.destroy_process_group()
    time.sleep(0.5)  # gloo's threads may still hold tensors: a process that ends before them is aborted
    Path(folder, f"{rank}.json").write_text(json.dumps(results))


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> list[dict]:
    # This file is run as a script: a fork of a process that has used torch's threads may hang.
    folder = tmp_path_factory.mktemp("ranks")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    processes = [subprocess.Popen([sys.executable, __file__, str(r), str(folder)], env=environment) for r in (0, 1)]
    try:
        assert [process.wait(timeout=120) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="needs gloo")
@pytest.mark.parametrize("weighting", ["equal", "dwa", "uncertainty"])
def test_two_processes_train_as_one_on_both_batches(two, weighting):
    batches = []
    for step in range(STEPS):
        (image, label), (other, known) = share(step, 0), share(step, 1)
        batches.append((torch.cat([image, other]), {key: torch.cat([label[key], known[key]]) for key in label}))
    one = train(batches, weighting, False)
    for process in two:
        got = process[weighting]
        torch.testing.assert_close(torch.tensor(got["curve"]), torch.tensor(one["curve"]), atol=2e-6, rtol=2e-5)
        for name in ("means", "weights"):
            wanted = torch.tensor(one[name])
            torch.testing.assert_close(torch.tensor(got[name]), wanted, atol=2e-6, rtol=2e-5, equal_nan=True)
        for mine, theirs in zip(got["parameters"], one["parameters"], strict=True):
            torch.testing.assert_close(torch.tensor(mine), torch.tensor(theirs), atol=2e-5, rtol=1e-4)
    assert two[0][weighting]["parameters"] == two[1][weighting]["parameters"], "processes must never drift apart"


def test_counts_are_means_over_processes_and_of_one_process_as_they_are(two):
    assert two[0]["counts"] == two[1]["counts"] == [3.5, 0.0]
    count = torch.tensor(3)
    assert mean_count(count) is count


if __name__ == "__main__":
    work(int(sys.argv[1]), sys.argv[2])
