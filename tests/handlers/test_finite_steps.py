# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from torch import nn

from ctan_networks.engines import PrepareMultiTaskBatch, gradient_step
from ctan_networks.errors import ConfigError, DataError
from ctan_networks.handlers import FiniteSteps, GradientClipping, TaskLosses
from ctan_networks.losses import MaskedL1Loss, MultiTaskLoss, parameter_groups
from ctan_networks.losses.gradient_methods import GRADIENT_METHODS


class Linear(nn.Linear):
    def forward(self, x):
        return {"dose": super().forward(x)}


class Normed(nn.Module):
    """Two tasks behind one batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(1)
        self.linear = nn.Linear(3, 3)

    def forward(self, x):
        y = self.linear(self.norm(x))
        return {"dose": y, "density": 2 * y}


def cases(bad: dict[int, float], count: int = 6) -> list[dict]:
    """Plain numbers; the k-th image holds the bad one."""
    ones = torch.ones(1, 3)
    made = [
        {"case": f"p{k}", "image": torch.tensor([[1.0, 2.0, k + 1.0]]), "dose": ones, "density": ones}
        for k in range(count)
    ]
    for k, value in bad.items():
        made[k]["image"][0, 1] = value
    return made


def train(items: list[dict], action: str = "stop", epochs: int = 1, history=None, patience: int = 20, gradient=None):
    torch.manual_seed(0)
    network = Linear(3, 3)
    loss = MultiTaskLoss({"dose": MaskedL1Loss()})
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.1)
    weights: list[torch.Tensor] = []
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=DataLoader(Dataset(items), batch_size=1),
        network=network,
        optimizer=optimizer,
        loss_function=loss,
        prepare_batch=PrepareMultiTaskBatch(["dose"]),
        decollate=False,
        train_handlers=[
            FiniteSteps(network, loss, action, patience),
            GradientClipping(network, 1.0),
            TaskLosses(loss, history),
        ],
    )
    if gradient is not None:
        network.weight.register_hook(lambda g: torch.full_like(g, gradient) if trainer.state.iteration == 3 else g)
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: weights.append(network.weight.detach().clone())
    )
    return trainer, network, weights, optimizer


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_it_stops_before_the_step_and_names_the_case(value):
    trainer, network, weights, _ = train(cases({3: value}))
    with pytest.raises(DataError, match=r"epoch 1, step 4: the loss of dose is not finite for case p3\. The training"):
        trainer.run()
    assert len(weights) == 3 and torch.equal(network.weight, weights[-1])


def test_a_gradient_counts_too():
    trainer, *_ = train(cases({}), gradient=math.inf)
    with pytest.raises(DataError, match="step 3: the gradient is not finite for case p2"):
        trainer.run()


def test_a_step_can_be_left_out(tmp_path, caplog):
    """Weights, moments and step counts are those of a training that never saw the case."""
    trainer, network, weights, optimizer = train(cases({3: math.nan}), "skip", history=tmp_path / "history.csv")
    trainer.run()
    without = [item for item in cases({}) if item["case"] != "p3"]
    other, other_network, _, other_optimizer = train(without, "skip")
    other.run()
    assert torch.equal(network.weight, other_network.weight) and torch.equal(weights[2], weights[3])
    for mine, theirs in zip(optimizer.state.values(), other_optimizer.state.values(), strict=True):
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert "case p3: this step is left out" in caplog.text
    assert "epoch 1: 1 of 6 steps were left out" in caplog.text
    assert trainer.state.metrics["loss_dose"] == pytest.approx(other.state.metrics["loss_dose"])


def test_too_many_in_a_row_stop():
    trainer, *_ = train(cases(dict.fromkeys(range(1, 6), math.nan)), "skip", patience=3)
    with pytest.raises(DataError, match="step 4: .* for case p3, and 3 steps in a row by now"):
        trainer.run()
    trainer, _, weights, _ = train(cases({0: math.nan, 2: math.nan, 4: math.nan}), "skip", patience=2)
    trainer.run()
    assert len(weights) == 6


def scale_gradients(trainer: SupervisedTrainer) -> None:
    """As MONAI's trainer does on a GPU; its own scaler, made as a run starts, does nothing on a CPU."""
    trainer.amp = True

    @trainer.on(Events.STARTED)
    def exchange(engine):
        engine.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)


def train_two(items: list[dict], weighting: str, scaler: bool = False) -> tuple[dict, dict]:
    """Weights of network and loss after an epoch in which steps may be left out."""
    torch.manual_seed(0)
    network = Normed()
    loss = MultiTaskLoss({"dose": MaskedL1Loss(), "density": MaskedL1Loss()}, weighting=weighting)
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=DataLoader(Dataset(items), batch_size=1),
        network=network,
        optimizer=torch.optim.AdamW(parameter_groups(loss, network, 0.1), lr=0.1),
        loss_function=loss,
        prepare_batch=PrepareMultiTaskBatch(["dose", "density"]),
        iteration_update=gradient_step(weighting),
        decollate=False,
        train_handlers=[FiniteSteps(network, loss, "skip"), GradientClipping(network, 1.0)],
    )
    if scaler:
        scale_gradients(trainer)
    trainer.run()
    return network.state_dict(), loss.state_dict()


@pytest.mark.parametrize("weighting", ["equal", "uncertainty", *GRADIENT_METHODS])
def test_whatever_learns_and_whatever_keeps_what_it_saw_forgets_the_step(weighting):
    """Batch norm's running statistics, the loss's own parameters, methods that factorise the gradients."""
    if weighting in GRADIENT_METHODS:
        pytest.importorskip("torchjd")
    with_it = train_two(cases({0: math.nan, 3: math.inf}), weighting)
    without = train_two([item for item in cases({}) if item["case"] not in ("p0", "p3")], weighting)
    for mine, theirs in zip(with_it, without, strict=True):
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
        assert all(bool(value.isfinite().all()) for value in mine.values())


def test_no_tasks_loss_of_a_step_that_is_left_out_counts():
    """Dynamic weight averages are made of the means of an epoch."""

    def means(items: list[dict]) -> dict:
        torch.manual_seed(0)
        network = Normed()
        loss = MultiTaskLoss({"dose": MaskedL1Loss(), "density": MaskedL1Loss()}, weighting="dwa")
        trainer = SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=3,
            train_data_loader=DataLoader(Dataset(items), batch_size=1),
            network=network,
            optimizer=torch.optim.AdamW(network.parameters(), lr=0.1),
            loss_function=loss,
            prepare_batch=PrepareMultiTaskBatch(["dose", "density"]),
            decollate=False,
            train_handlers=[FiniteSteps(network, loss, "skip"), TaskLosses(loss)],
        )
        trainer.run()
        return loss.state_dict()

    with_it = cases({})
    # Of one task alone: the other's loss is a number.
    with_it[3]["density"] = torch.full((1, 3), math.inf)
    mine, theirs = means(with_it), means([item for item in cases({}) if item["case"] != "p3"])
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_a_gradient_scaler_leaves_the_step_out_too():
    with_it = train_two(cases({3: math.nan}), "uncertainty", scaler=True)
    without = train_two([item for item in cases({}) if item["case"] != "p3"], "uncertainty", scaler=True)
    for mine, theirs in zip(with_it, without, strict=True):
        # The scale is halved by the step that was left out; a power of two changes nothing but overflow.
        assert all(torch.allclose(mine[name], theirs[name], rtol=1e-6) for name in theirs)


def test_an_infinite_gradient_is_the_scalers_business():
    """With float16 it is part of the method: the scale is lowered, and the training goes on."""
    trainer, _, weights, _ = train(cases({}), gradient=math.inf)
    scale_gradients(trainer)
    trainer.run()
    assert len(weights) == 6 and torch.equal(weights[1], weights[2]) and trainer.scaler.get_scale() == 4.0


def test_an_unknown_action_is_refused():
    with pytest.raises(ConfigError, match="stop, skip, not 'ignore'"):
        FiniteSteps(nn.Linear(1, 1), action="ignore")
