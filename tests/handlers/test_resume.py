# SPDX-License-Identifier: Apache-2.0
"""What a resume takes from the checkpoint, what from the command line, and what it refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from monai.optimizers import WarmupCosineSchedule
from torch import nn

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.handlers import checkpoint
from ctan_networks.handlers.checkpoint import TrainingCheckpoint
from ctan_networks.losses import MaskedL1Loss, MultiTaskLoss, parameter_groups
from ctan_networks.utils import archive_damage

DETAILS = {"phantom": True, "architecture": "ctan", "tasks": ["a", "b"], "weighting": "uncertainty", "seed": 0}
STEPS = 3


def training(
    folder: Path, epochs: int, resume: bool = False, rate: float = 0.1, width: int = 2, stop_in: int = 0, **details: Any
) -> tuple[list[float], nn.Module]:
    """Learning rate of each step, and the network; as bundles have it, with an optimiser that a schedule drives."""
    torch.manual_seed(0)
    network = nn.Linear(width, 2)
    loss = MultiTaskLoss({"a": MaskedL1Loss(), "b": MaskedL1Loss()}, weighting="uncertainty")
    optimizer = torch.optim.AdamW(parameter_groups(loss, network, 0.1), lr=rate)
    schedule = WarmupCosineSchedule(optimizer, 2, epochs * STEPS)
    rates: list[float] = []

    def step(engine: Engine, batch: Any) -> None:
        if engine.state.epoch == stop_in:
            raise InterruptedError("killed")
        optimizer.zero_grad()
        network(torch.full((1, width), float(engine.state.iteration))).sum().backward()
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()

    trainer, evaluator = Engine(step), Engine(lambda e, b: None)
    evaluator.state.key_metric_name = "score"

    @evaluator.on(Events.EPOCH_COMPLETED)
    def score(engine: Engine) -> None:
        engine.state.metrics = {"score": 0.5}

    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run([0]))
    objects = {"network": network, "loss": loss, "optimizer": optimizer, "lr_scheduler": schedule}
    handler = TrainingCheckpoint(folder, objects, network, evaluator, DETAILS | {"epochs": epochs} | details, resume)
    handler.attach(trainer)
    try:
        trainer.run([0] * STEPS, max_epochs=epochs)
    except InterruptedError:
        handler.unlock(trainer)
    return rates, network


def test_the_same_command_goes_on_as_if_nothing_had_happened(tmp_path):
    whole, network = training(tmp_path / "whole", 4)
    first, _ = training(tmp_path / "parts", 4, stop_in=3)
    rest, other = training(tmp_path / "parts", 4, resume=True)
    assert len(first) == 6 and first + rest == whole and torch.equal(network.weight, other.weight)
    states = [torch.load(tmp_path / part / "last.pt", weights_only=True) for part in ("whole", "parts")]
    assert states[0]["objects"]["lr_scheduler"] == states[1]["objects"]["lr_scheduler"]


def test_an_encoder_goes_on_with_its_own_learning_rate(tmp_path):
    """Each group of parameters has the rate that the command gives it, times the schedule."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.head = nn.Linear(2, 2), nn.Linear(2, 2)

    def run(folder: Path, rate: float, resume: bool) -> list[float]:
        torch.manual_seed(0)
        network = Network()
        loss = MultiTaskLoss({"a": MaskedL1Loss()})
        optimizer = torch.optim.AdamW(parameter_groups(loss, network, 0.1, rate), lr=0.1)
        schedule = WarmupCosineSchedule(optimizer, 0, 12)

        def step(engine: Engine, batch: Any) -> None:
            optimizer.zero_grad()
            network.head(network.encoder(torch.ones(1, 2))).sum().backward()
            optimizer.step()
            schedule.step()

        trainer, evaluator = Engine(step), Engine(lambda e, b: None)
        evaluator.state.key_metric_name = "score"
        evaluator.add_event_handler(Events.STARTED, lambda e: setattr(e.state, "metrics", {"score": 0.5}))
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run([0]))
        objects = {"network": network, "optimizer": optimizer, "lr_scheduler": schedule}
        TrainingCheckpoint(folder, objects, network, evaluator, DETAILS, resume).attach(trainer)
        trainer.run([0] * STEPS, max_epochs=2 if resume else 1)
        return [group["lr"] for group in optimizer.param_groups]

    before = run(tmp_path, 0.01, False)
    after = run(tmp_path, 0.001, True)
    assert before[2] == pytest.approx(before[0] / 10) and after[2] == pytest.approx(after[0] / 100)
    assert after[0] < before[0]


def test_a_run_with_another_encoder_is_not_resumed(tmp_path):
    training(tmp_path, 1, encoder="plain")
    with pytest.raises(ConfigError, match="trained with encoder 'plain', this run has 'resnet10'"):
        training(tmp_path, 2, resume=True, encoder="resnet10")


def test_a_run_from_before_encoders_were_noted_is_resumed(tmp_path):
    training(tmp_path, 1)
    assert len(training(tmp_path, 2, resume=True, encoder="plain")[0]) == STEPS


def test_another_learning_rate_counts(tmp_path):
    """As the error says that ends a training whose loss is not finite."""
    whole, _ = training(tmp_path / "whole", 4)
    training(tmp_path / "parts", 4, stop_in=3)
    rest, _ = training(tmp_path / "parts", 4, resume=True, rate=0.01)
    assert rest == pytest.approx([rate / 10 for rate in whole[6:]])


def test_a_longer_training_follows_the_longer_schedule(tmp_path, caplog):
    whole, _ = training(tmp_path / "whole", 8)
    training(tmp_path / "parts", 4)
    rest, _ = training(tmp_path / "parts", 8, resume=True)
    assert rest == whole[12:] and rest == sorted(rest, reverse=True)
    assert "last.pt goes on with other settings than it began with: epochs 4, now 8." in caplog.text


def test_a_new_training_that_is_killed_early_does_not_go_on_from_the_one_before(tmp_path, caplog):
    caplog.set_level("INFO")
    training(tmp_path, 2)
    before = (tmp_path / "last.pt").read_bytes()
    training(tmp_path, 2, seed=1, stop_in=1)
    assert (tmp_path / "last_earlier.pt").read_bytes() == before and not list(tmp_path.glob("last_previous.pt"))
    rates, _ = training(tmp_path, 2, resume=True, seed=1)
    assert len(rates) == 2 * STEPS and "nothing to resume" in caplog.text
    assert not (tmp_path / "last_earlier.pt").exists()
    assert torch.load(tmp_path / "last.pt", weights_only=True)["details"]["seed"] == 1


def test_a_damaged_checkpoint_never_takes_the_place_of_the_whole_one(tmp_path):
    """Killed while the next one is written, the run would have had none."""
    training(tmp_path, 2)
    last = tmp_path / "last.pt"
    last.write_bytes(last.read_bytes()[:500])
    training(tmp_path, 3, resume=True, stop_in=2)
    assert not archive_damage(last) and torch.load(last, weights_only=True)["epoch"] == 1
    rates, _ = training(tmp_path, 3, resume=True)
    assert len(rates) == 2 * STEPS and torch.load(tmp_path / "last_previous.pt", weights_only=True)["epoch"] == 2


@pytest.mark.parametrize(
    ("changed", "told"), [({"phantom": False}, "phantom True, this run has False"), ({"width": 3}, "its network does")]
)
def test_what_does_not_fit_is_refused(tmp_path, changed, told):
    training(tmp_path, 1)
    before = (tmp_path / "last.pt").read_bytes()
    with pytest.raises(ConfigError, match=rf"cannot resume .*last.pt: .*{told}.*another --output_dir"):
        training(tmp_path, 2, resume=True, **changed)
    assert (tmp_path / "last.pt").read_bytes() == before


def test_another_seed_is_told(tmp_path, caplog):
    training(tmp_path, 1)
    training(tmp_path, 2, resume=True, seed=7)
    assert "seed 0, now 7" in caplog.text


def test_what_the_loss_has_learnt_must_be_finite_too(tmp_path):
    """Or every resume would start with it."""
    loss = MultiTaskLoss({"a": MaskedL1Loss(), "b": MaskedL1Loss()}, weighting="uncertainty")
    nn.init.constant_(loss.weighting.log_variances, math.nan)
    network = nn.Linear(1, 1)
    handler = TrainingCheckpoint(tmp_path, {"network": network, "loss": loss}, network, Engine(lambda e, b: None), {})
    with pytest.raises(DataError, match=r"not finite \(weighting.log_variances\)"):
        handler.save_last(Engine(lambda e, b: None))
    assert not list(tmp_path.iterdir())


def test_a_kill_between_weights_and_their_description_leaves_no_wrong_one(tmp_path, monkeypatch):
    training(tmp_path, 1, pixdim=[1, 1, 1])

    def killed(*arguments: Any) -> None:
        raise InterruptedError("killed")

    monkeypatch.setattr(checkpoint, "save_text", killed)
    # The same settings: what stands there is right but for the epoch.
    training(tmp_path, 1, pixdim=[1, 1, 1])
    assert json.loads((tmp_path / "model.json").read_text())["pixdim"] == [1, 1, 1]
    training(tmp_path, 1, pixdim=[2, 2, 2])
    assert (tmp_path / "model.pt").is_file() and not (tmp_path / "model.json").exists()
