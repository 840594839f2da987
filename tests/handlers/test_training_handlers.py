# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import math
import os

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.handlers import checkpoint
from ctan_networks.handlers.checkpoint import TrainingCheckpoint
from ctan_networks.handlers.gradient_clipping import GradientClipping
from ctan_networks.handlers.step_seed import StepSeed
from ctan_networks.handlers.task_losses import TaskLosses, read_history
from ctan_networks.handlers.weight_average import WeightAverage
from ctan_networks.losses import MaskedL1Loss, MultiTaskLoss


def engine_with(state: dict | None = None, step=lambda engine, batch: None) -> Engine:
    engine = Engine(step)
    for name, value in (state or {}).items():
        setattr(engine.state, name, value)
    return engine


def test_weight_average_follows_the_definition():
    torch.manual_seed(0)
    network, average = nn.Linear(2, 2), nn.Linear(2, 2)
    wanted = network.weight.detach().clone()  # what the average was before the engine started does not count
    steps = []

    def step(engine, batch):
        nn.init.normal_(network.weight)
        steps.append(network.weight.detach().clone())

    engine = Engine(step)
    WeightAverage(network, average, decay=0.5).attach(engine)
    engine.run([0] * 12, max_epochs=1)
    for n, weight in enumerate(steps, start=1):
        decay = min(0.5, (1 + n) / (10 + n))
        wanted = decay * wanted + (1 - decay) * weight
    torch.testing.assert_close(average.weight.detach(), wanted)
    with pytest.raises(ValueError, match="decay"):
        WeightAverage(network, average, decay=1.0)


def test_gradient_clipping_bounds_the_norm():
    network = nn.Linear(4, 4)
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, 100.0)
    engine = Engine(lambda e, b: None)
    engine.scaler = None
    GradientClipping(network, 2.0)(engine)
    norm = math.sqrt(sum(float(p.grad.pow(2).sum()) for p in network.parameters()))
    assert norm == pytest.approx(2.0, rel=1e-4)


def test_step_seed_makes_draws_depend_on_the_step_alone():
    def draws(start: int) -> list[float]:
        seen = []
        engine = Engine(lambda e, b: seen.append(float(torch.rand(()))))
        StepSeed(3).attach(engine)

        @engine.on(Events.STARTED)
        def resume(engine):
            engine.state.epoch, engine.state.iteration = start, start * 4

        engine.run([0] * 4, max_epochs=3)
        return seen

    torch.rand(5)
    assert draws(0)[4:] == draws(1)


def run_task_losses(folder, epochs: int, resume_at: int | None = None) -> MultiTaskLoss:
    loss = MultiTaskLoss({"a": MaskedL1Loss(), "b": MaskedL1Loss()}, weighting="dwa")
    evaluator = Engine(lambda e, b: None)

    def step(engine, batch):
        value = torch.full((1, 1, 2), float(engine.state.iteration), requires_grad=True)
        unknown = torch.full((1, 1, 2), torch.nan)
        loss({"a": value, "b": value}, {"a": torch.zeros(1, 1, 2), "b": unknown})

    engine = Engine(step)
    TaskLosses(loss, folder / "history.csv", evaluator).attach(engine)

    @engine.on(Events.EPOCH_COMPLETED)
    def validate(engine):
        evaluator.run([0])
        evaluator.state.metrics = {"dice": 0.5, "note": "text"}

    if resume_at is not None:

        @engine.on(Events.STARTED)
        def resume(engine):
            engine.state.epoch, engine.state.iteration = resume_at, resume_at * 2

    engine.run([0, 0], max_epochs=epochs)
    assert engine.state.metrics["loss_a"] == pytest.approx(2 * epochs - 0.5)
    return loss


def test_task_losses_are_epoch_means_and_go_to_the_history(tmp_path):
    run_task_losses(tmp_path, 3)
    rows = read_history(tmp_path / "history.csv")
    assert [(e, v) for e, n, v in rows if n == "loss_a"] == [(1, 1.5), (2, 3.5), (3, 5.5)]
    assert all(math.isnan(v) for _, n, v in rows if n == "loss_b")
    assert [(e, v) for e, n, v in rows if n == "dice"] == [(2, 0.5), (3, 0.5)]
    run_task_losses(tmp_path, 4, resume_at=2)
    rows = read_history(tmp_path / "history.csv")
    assert [e for e, n, _ in rows if n == "loss_a"] == [1, 2, 3, 4]


@pytest.mark.parametrize("rows", [b"name\n1,a", b"name,value\n1,a,x", b"name,value\n,a,1", b"name,value\n1,\xff,2"])
def test_a_history_that_is_none_is_named(tmp_path, rows):
    (tmp_path / "history.csv").write_bytes(b"epoch," + rows)
    with pytest.raises(DataError, match=r"history\.csv cannot be read as the history .* remove"):
        run_task_losses(tmp_path, 1)


def training(folder, epochs: int, details: dict, resume: bool = False, scores=(0.3, 0.5, 0.4, math.nan), ruin_in=0):
    """A tiny training: a random walk of one weight whose draws depend on the step, validated every epoch."""
    network = nn.Linear(2, 2)
    nn.init.zeros_(network.weight)
    nn.init.zeros_(network.bias)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)

    def step(engine, batch):
        optimizer.zero_grad()
        network(torch.rand(3, 2)).sum().backward()
        optimizer.step()
        if engine.state.epoch == ruin_in:
            nn.init.constant_(network.bias, math.nan)

    trainer, evaluator = Engine(step), Engine(lambda e, b: None)
    evaluator.state.key_metric_name = "score"
    StepSeed(0).attach(trainer)

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate(engine):
        @evaluator.on(Events.EPOCH_COMPLETED)
        def score(e):
            e.state.metrics = {"score": scores[engine.state.epoch - 1]}

        evaluator.run([0])

    objects = {"network": network, "optimizer": optimizer}
    TrainingCheckpoint(folder, objects, network, evaluator, details, resume).attach(trainer)
    trainer.run([0] * 3, max_epochs=epochs)
    return network


DETAILS = {"phantom": True, "architecture": "ctan", "tasks": ["dose"], "weighting": "equal"}


def test_best_and_last_are_kept(tmp_path):
    network = training(tmp_path, 4, DETAILS)
    last = torch.load(tmp_path / "last.pt", weights_only=True)
    assert last["epoch"] == 4 and last["best_epoch"] == 2 and last["best"] == 0.5
    assert torch.equal(last["objects"]["network"]["weight"], network.weight)
    best = torch.load(tmp_path / "model.pt", weights_only=True)
    assert set(best) == {"weight", "bias"} and not torch.equal(best["weight"], network.weight)
    described = json.loads((tmp_path / "model.json").read_text())
    assert described["phantom"] is True and described["epoch"] == 2 and described["metrics"] == {"score": 0.5}
    assert sorted(p.name for p in tmp_path.glob("[!.]*")) == [
        "last.pt",
        "last_previous.pt",
        "model.json",
        "model.pt",
    ]


def test_resumed_run_ends_with_the_same_weights(tmp_path):
    whole = training(tmp_path / "whole", 4, DETAILS)
    training(tmp_path / "parts", 2, DETAILS)
    parts = training(tmp_path / "parts", 4, DETAILS, resume=True)
    assert torch.equal(whole.weight, parts.weight)
    for name in ("model.pt", "model.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


def test_resume_without_a_checkpoint_starts_anew_and_says_so(tmp_path, caplog):
    caplog.set_level("INFO")
    training(tmp_path, 1, DETAILS, resume=True)
    assert "nothing to resume" in caplog.text


def test_resume_of_another_run_is_refused(tmp_path):
    training(tmp_path, 1, DETAILS)
    with pytest.raises(ConfigError, match="architecture 'ctan'.*'mtan'"):
        training(tmp_path, 2, DETAILS | {"architecture": "mtan"}, resume=True)


def test_phantoms_never_overwrite_weights_trained_on_patients(tmp_path):
    training(tmp_path, 1, DETAILS | {"phantom": False})
    before = (tmp_path / "model.pt").read_bytes()
    with pytest.raises(ConfigError, match="trained on patients"):
        training(tmp_path, 1, DETAILS)
    assert (tmp_path / "model.pt").read_bytes() == before


def test_weights_that_are_not_finite_are_kept_nowhere(tmp_path, caplog):
    """Neither as the best, though their score would be, nor as the last."""
    training(tmp_path, 2, DETAILS)
    before = {name: (tmp_path / name).read_bytes() for name in ("model.pt", "last.pt", "last_previous.pt")}
    with pytest.raises(DataError, match=r"epoch 3: the weights are not finite \(bias\).*--resume True"):
        training(tmp_path, 4, DETAILS, resume=True, scores=(0.3, 0.5, 0.9, 1.0), ruin_in=3)
    assert all((tmp_path / name).read_bytes() == content for name, content in before.items())
    assert "epoch 3: weights that are not finite are not kept as model.pt" in caplog.text
    # What raised holds no lock on a second try in the same process, and releases it for others.
    training(tmp_path, 4, DETAILS, resume=True)
    assert checkpoint.lock_run(tmp_path).lock_counter == 1


def test_a_score_that_is_no_number_gives_way_to_any_other(tmp_path):
    training(tmp_path, 3, DETAILS, scores=(math.nan, -5.0, math.nan))
    last = torch.load(tmp_path / "last.pt", weights_only=True)
    assert (last["best"], last["best_epoch"]) == (-5.0, 2)
    assert json.loads((tmp_path / "model.json").read_text())["epoch"] == 2


@pytest.mark.parametrize("locked", [True, False])
def test_what_a_killed_training_left_is_removed(tmp_path, monkeypatch, locked):
    """Where no lock tells that nobody else is at work, only what is old."""
    left = [tmp_path / f".{name}.writing-abcdefgh.pt" for name in ("last.pt", "last_previous.pt", "model.pt")]
    for file in (*left, tmp_path / ".last.pt.writing-oldstuff.pt", tmp_path / ".mine.writing-abcdefgh.pt"):
        file.write_bytes(b"half")
    os.utime(tmp_path / ".last.pt.writing-oldstuff.pt", (1, 1))
    if not locked:
        monkeypatch.setattr(checkpoint, "lock_run", lambda folder: None)
    training(tmp_path, 1, DETAILS)
    stay = {p.name for p in tmp_path.iterdir() if ".writing-" in p.name}
    assert stay == {".mine.writing-abcdefgh.pt"} | (set() if locked else {p.name for p in left})


def test_a_description_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "model.json").write_text('{"phantom": ')
    with pytest.raises(ConfigError, match=r"model\.json cannot be read .*Remove it"):
        training(tmp_path, 1, DETAILS)


def test_weights_are_kept_even_when_no_score_is_a_number(tmp_path):
    training(tmp_path, 1, DETAILS, scores=(math.nan,))
    assert (tmp_path / "model.pt").is_file()
