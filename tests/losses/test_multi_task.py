# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import doctest
import gc
import json
import math
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

from ctan_networks.errors import ConfigError
from ctan_networks.losses import (
    DiceBCELoss,
    EqualWeighting,
    MaskedCrossEntropyLoss,
    MaskedL1Loss,
    MultiTaskLoss,
    multi_task,
    parameter_groups,
)

TASKS = ["segmentation", "dose", "diagnosis"]


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU())
        self.segmentation, self.dose, self.diagnosis = nn.Conv3d(4, 2, 1), nn.Conv3d(4, 1, 1), nn.Linear(4, 3)

    def forward(self, x):
        y = self.body(x)
        return {
            "segmentation": self.segmentation(y),
            "dose": self.dose(y),
            "diagnosis": self.diagnosis(y.mean((2, 3, 4))),
        }


def make_network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Network()


def make_losses():
    return {
        "segmentation": DiceBCELoss(),
        "dose": MaskedL1Loss(scale=70),
        "diagnosis": MaskedCrossEntropyLoss(),
    }


def make_loss(weighting=None, **kwargs):
    return MultiTaskLoss(make_losses(), weighting, **{"masks": {"dose": "mask"}, **kwargs})


def make_batch(seed=0, without=()):
    generator = torch.Generator().manual_seed(seed)
    size = (2, 1, 4, 4, 4)
    label = {
        "segmentation": (torch.rand(2, 2, 4, 4, 4, generator=generator) > 0.5).float(),
        "dose": 70 * torch.rand(size, generator=generator),
        "diagnosis": torch.randint(0, 3, (2,), generator=generator),
        "mask": torch.ones(size),
    }
    for task in without:
        label[task].fill_(-1 if task == "diagnosis" else torch.nan)
    return torch.rand(size, generator=generator), label


def test_total_and_bookkeeping():
    loss, network = make_loss(), make_network()
    image, label = make_batch()
    pred = network(image)
    total = loss(pred, label)
    expected = {
        "segmentation": DiceBCELoss()(pred["segmentation"], label["segmentation"]),
        "dose": MaskedL1Loss(70)(pred["dose"], label["dose"], label["mask"]),
        "diagnosis": nn.functional.cross_entropy(pred["diagnosis"], label["diagnosis"]),
    }
    torch.testing.assert_close(total, sum(expected.values()))
    assert list(loss.task_losses) == TASKS and loss.labelled == dict.fromkeys(TASKS, True)
    for task, value in loss.task_losses.items():
        assert not value.requires_grad
        torch.testing.assert_close(value, expected[task].detach())


def test_mask_reaches_its_loss():
    loss, network = make_loss(tasks=["dose"]), make_network()
    image, label = make_batch()
    label["mask"][:, :, 2:] = 0
    pred = network(image)
    torch.testing.assert_close(loss(pred, label), MaskedL1Loss(70)(pred["dose"], label["dose"], label["mask"]))


@pytest.mark.parametrize("weighting", ["equal", "dwa", "uncertainty"])
@pytest.mark.parametrize("task", TASKS)
def test_unlabelled_task_adds_nothing_and_stays_in_the_graph(weighting, task):
    network, loss = make_network(), make_loss(weighting)
    image, label = make_batch(without=[task])
    total = loss(network(image), label)
    total.backward()
    others = [name for name in TASKS if name != task]
    plain = MultiTaskLoss(make_losses(), EqualWeighting(others), tasks=others, masks={"dose": "mask"})
    torch.testing.assert_close(total, plain(network(image), label))
    assert loss.labelled == {name: name != task for name in TASKS}
    assert loss.task_losses[task] == 0
    assert all((p.grad == 0).all() for p in getattr(network, task).parameters())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("weighting", ["equal", "dwa", "uncertainty"])
def test_nothing_labelled(weighting):
    network, loss = make_network(), make_loss(weighting)
    image, label = make_batch(without=TASKS)
    total = loss(network(image), label)
    total.backward()
    assert total == 0
    assert all((p.grad == 0).all() for p in [*network.parameters(), *loss.parameters()])
    assert all(math.isnan(mean) for mean in loss.end_epoch().values())


def test_epoch_means_are_over_labelled_training_batches():
    network, loss = make_network(), make_loss("dwa")
    seen = {task: [] for task in TASKS}
    for seed, without in enumerate([(), ("dose",), ("dose", "diagnosis")]):
        image, label = make_batch(seed, without)
        loss(network(image), label)
        for task in set(TASKS) - set(without):
            seen[task].append(loss.task_losses[task].item())
    image, label = make_batch(99)
    with torch.no_grad():
        loss(network(image), label)
    loss.eval()
    loss(network(image), label)
    loss.train()
    means = loss.end_epoch()
    assert means == pytest.approx({task: sum(values) / len(values) for task, values in seen.items()}, rel=1e-5)
    assert loss.weighting.history[1].tolist() == pytest.approx([means[task] for task in TASKS])
    loss(network(image), label)
    once = {task: value.item() for task, value in loss.task_losses.items()}
    assert loss.end_epoch() == pytest.approx(once)
    loss(network(image), label)
    loss.reset()
    assert all(math.isnan(mean) for mean in loss.end_epoch().values())


def train(network, loss, optimizer, epochs):
    for epoch in epochs:
        for step in range(3):
            image, label = make_batch(10 * epoch + step, without=["dose"] if step == 1 else [])
            optimizer.zero_grad()
            loss(network(image), label).backward()
            optimizer.step()
        loss.end_epoch()


@pytest.mark.parametrize("weighting", ["equal", "dwa", "uncertainty"])
def test_resume_continues_exactly(weighting):
    def start(seed=0):
        network, loss = make_network(seed), make_loss(weighting)
        return network, loss, torch.optim.AdamW(parameter_groups(loss, network, 1e-4), lr=1e-2)

    whole, cut, resumed = start(), start(), start(seed=1)
    train(*whole, range(4))
    train(*cut, range(2))
    for new, old in zip(resumed, cut, strict=True):
        new.load_state_dict(old.state_dict())
    train(*resumed, range(2, 4))
    for a, b in zip(whole[:2], resumed[:2], strict=True):
        assert a.state_dict().keys() == b.state_dict().keys()
        for key, value in a.state_dict().items():
            assert torch.equal(value, b.state_dict()[key]), key
    weights = whole[1].weighting.weights
    assert weights == resumed[1].weighting.weights
    assert (set(weights.values()) == {1.0}) == (weighting == "equal")


def test_subset_of_tasks():
    loss, network = make_loss("dwa", tasks=["diagnosis"]), make_network()
    image, label = make_batch()
    total = loss(network(image), {"diagnosis": label["diagnosis"]})
    torch.testing.assert_close(total.detach(), loss.task_losses["diagnosis"])
    assert list(loss.end_epoch()) == ["diagnosis"] and loss.weighting.weights == {"diagnosis": 1.0}


def test_loss_that_knows_no_missing_labels():
    loss = MultiTaskLoss({"dose": nn.MSELoss()})
    pred = {"dose": torch.ones(1, 1, 2, 2, requires_grad=True)}
    assert loss(pred, {"dose": torch.zeros(1, 1, 2, 2)}) == 1 and loss.labelled == {"dose": True}


def test_non_finite_loss_is_not_hidden():
    loss = make_loss()
    image, label = make_batch()
    pred = make_network()(image)
    pred["dose"] = pred["dose"] * torch.inf
    assert not loss(pred, label).isfinite() and not loss.task_losses["dose"].isfinite()


def test_bfloat16_autocast():
    network, loss = make_network(), make_loss("uncertainty")
    image, label = make_batch(without=["dose"])
    exact = loss(network(image), label)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pred = network(image)
        total = loss(pred, label)
    assert pred["segmentation"].dtype == torch.bfloat16 and total.dtype == torch.float32
    torch.testing.assert_close(total, exact, rtol=0.02, atol=0.02)
    total.backward()
    assert all(p.grad.isfinite().all() for p in [*network.parameters(), *loss.parameters()])


def test_parameter_groups():
    network, loss = make_network(), make_loss("uncertainty")
    network.dose.weight.requires_grad_(False)
    groups = parameter_groups(loss, network, weight_decay=0.1)
    decay = {name: group["weight_decay"] for group in groups for name, p in named(network, loss) if is_in(p, group)}
    assert decay == {
        "body.0.weight": 0.1,
        "body.0.bias": 0.0,
        "body.1.weight": 0.0,
        "body.1.bias": 0.0,
        "segmentation.weight": 0.1,
        "segmentation.bias": 0.0,
        "dose.bias": 0.0,
        "diagnosis.weight": 0.1,
        "diagnosis.bias": 0.0,
        "weighting.log_variances": 0.0,
    }
    assert len(parameter_groups(make_loss("uncertainty", tasks=["dose"]), network, 0.1)) == 2


def test_parameter_groups_with_a_learning_rate_of_the_encoder():
    network, loss = make_network(), make_loss("uncertainty")
    with pytest.raises(ConfigError, match="no encoder"):
        parameter_groups(loss, network, 0.1, encoder_learning_rate=1e-3)
    network.encoder = network.body
    network.encoder[0].bias.requires_grad_(False)
    groups = parameter_groups(loss, network, 0.1, encoder_learning_rate=1e-3)
    rates = torch.optim.AdamW(groups, lr=1e-2).param_groups
    found = {
        name: (group["lr"], group["weight_decay"])
        for group in rates
        for name, p in named(network, loss)
        if is_in(p, group)
    }
    assert found["body.0.weight"] == (1e-3, 0.1) and found["body.1.weight"] == (1e-3, 0.0)
    assert found["dose.weight"] == (1e-2, 0.1) and found["weighting.log_variances"] == (1e-2, 0.0)
    assert "body.0.bias" not in found
    assert sum(len(group["params"]) for group in rates) == len(list(named(network, loss))) - 1


def named(*modules):
    return [pair for module in modules for pair in module.named_parameters()]


def is_in(parameter, group):
    return any(parameter is p for p in group["params"])


def test_missing_keys_are_named():
    loss, network = make_loss(), make_network()
    image, label = make_batch()
    pred = network(image)
    for key in ("dose", "mask"):
        with pytest.raises(ConfigError, match=f"task 'dose'.*'{key}'"):
            loss(pred, {k: v for k, v in label.items() if k != key})
    with pytest.raises(ConfigError, match=r"task 'diagnosis'.*network"):
        loss({k: v for k, v in pred.items() if k != "diagnosis"}, label)
    with pytest.raises(ConfigError, match=r"task 'segmentation'.*\(2, 1, 4, 4, 4\)"):
        loss(pred, {**label, "segmentation": label["dose"]})


def test_wrong_arguments_are_refused():
    for kwargs in ({"tasks": ["depth"]}, {"masks": {"depth": "mask"}}):
        with pytest.raises(ConfigError, match=r"'depth'.*segmentation, dose, diagnosis"):
            make_loss(**kwargs)
    with pytest.raises(ConfigError, match="weighting is for"):
        make_loss(EqualWeighting(["dose"]))
    with pytest.raises(ConfigError, match="equal, dwa, uncertainty"):
        make_loss("best")


def test_example_of_the_module_docstring():
    result = doctest.testmod(multi_task)
    assert result.attempted >= 10 and result.failed == 0


def train_on_rank(rank, weighting):
    """Three epochs on one of two ranks; the weights, the epoch means and the losses of this rank in the last epoch."""
    network = nn.parallel.DistributedDataParallel(make_network())
    loss = make_loss(weighting)
    optimizer = torch.optim.SGD(parameter_groups(loss, network, 1e-4), lr=0.1)
    for epoch in range(3):
        # In the second epoch the second rank has no label at all, and the first none for dose.
        image, label = make_batch(10 * epoch + rank, without=[["dose"], TASKS][rank] if epoch == 1 else [])
        optimizer.zero_grad()
        loss(network(image), label).backward()
        optimizer.step()
        own = {task: value.item() for task, value in loss.task_losses.items()}
        means = loss.end_epoch()
    return loss.weighting.weights, means, own


def work_on_rank(rank, folder):
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    results = {weighting: train_on_rank(rank, weighting) for weighting in ("dwa", "uncertainty")}
    gc.collect()  # a DistributedDataParallel that outlives its gloo group may abort the process at its end
    dist.barrier()
    dist.destroy_process_group()
    time.sleep(0.5)  # gloo's threads may still hold tensors: a process that ends before them is aborted
    Path(folder, f"{rank}.json").write_text(json.dumps(results))


@pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="needs gloo")
def test_ranks_agree(tmp_path):
    # This file is run as a script: a fork of a process that has used torch's threads may hang.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([sys.executable, __file__, str(rank), str(tmp_path)], env=environment) for rank in (0, 1)
    ]
    try:
        assert [process.wait(timeout=120) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    for weighting, (weights, means, own) in first.items():
        assert second[weighting][:2] == [weights, means]
        assert set(weights.values()) != {1.0}
        other = second[weighting][2]
        assert means == pytest.approx({task: (own[task] + other[task]) / 2 for task in TASKS}, rel=1e-5)


if __name__ == "__main__":
    work_on_rank(int(sys.argv[1]), sys.argv[2])
