# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.engines import SupervisedEvaluator
from monai.handlers import CheckpointSaver, IgniteMetricHandler, MeanAbsoluteError, from_engine
from monai.metrics import MAEMetric
from torch import nn

from ctan_networks.errors import ConfigError
from ctan_networks.metrics import KeyMetric, StructureDice, of_tasks, skill
from ctan_networks.radiotherapy.metrics.dose_score import DoseScore

TRIVIAL = {"segmentation": 0.0, "dose": 8.0}
PERFECT = {"segmentation": 1.0, "dose": 0.0}
TASKS = ("segmentation", "dose")


@pytest.mark.parametrize(
    ("value", "trivial", "perfect", "expected"),
    [
        (0.7, 0, 1, 0.7),  # Dice
        (2.0, 8.0, 0, 0.75),  # dose score: 1 - 2 / 8
        (9.0, 8.0, 0, -0.125),
        (0.8, 0.5, 1, 0.6),  # AUC: 2 * 0.8 - 1
        (0.5, 1 / 7, 1, (0.5 - 1 / 7) / (1 - 1 / 7)),  # balanced accuracy of 7 classes
        (math.inf, 8.0, 0, -math.inf),
    ],
)
def test_skill(value, trivial, perfect, expected):
    assert skill(value, trivial, perfect) == pytest.approx(expected)


@pytest.mark.parametrize(("trivial", "perfect"), [(1.0, 1.0), (math.nan, 0.0), (math.inf, 0.0)])
def test_skill_without_a_scale(trivial, perfect):
    with pytest.raises(ConfigError, match="two different finite"):
        skill(0.5, trivial, perfect)


class TinyNetwork(nn.Module):
    """The sum of the image and a parameter, as dose; whether it is above 1, as segmentation."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        dose = x + self.shift
        return {"dose": dose, "segmentation": (dose > 1).float()}


def make_data(count=5, unknown=()):
    generator = torch.Generator().manual_seed(0)
    data = []
    for _ in range(count):
        image = 2 * torch.rand(1, 4, 3, 2, generator=generator)
        dose = image + torch.rand(image.shape, generator=generator)
        label = {"dose": dose, "segmentation": (dose > 1.5).float()}
        data.append({"image": image, "label": {t: v * torch.nan if t in unknown else v for t, v in label.items()}})
    return data


def prepare_batch(batch, device, non_blocking, **kwargs):
    return batch["image"].to(device), batch["label"]


def expected_values(data, shift):
    dice, dose = [], []
    for item in data:
        x = item["image"].double().numpy() + shift
        label = {task: value.double().numpy() for task, value in item["label"].items()}
        dose.append(np.abs(label["dose"] - x).mean())
        inside = x > 1
        dice.append(2 * (inside * label["segmentation"]).sum() / (inside.sum() + label["segmentation"].sum()))
    return {"dice": np.mean(dice), "dose_score": np.mean(dose)}


def make_metrics():
    def dose(output):
        return [o["pred"]["dose"] for o in output], [{"reference_dose": o["label"]["dose"]} for o in output]

    def segmentation(output):
        return tuple([o[key]["segmentation"] for o in output] for key in ("pred", "label"))

    return {
        "segmentation": {"dice": IgniteMetricHandler(StructureDice(), output_transform=segmentation)},
        "dose": {"dose_score": IgniteMetricHandler(DoseScore(mask_key=None), output_transform=dose)},
    }


def make_evaluator(data, metrics, attached=TASKS, tasks=TASKS, network=None, handlers=None):
    key_metric = KeyMetric({t: next(iter(m.values())) for t, m in metrics.items()}, TRIVIAL, PERFECT, tasks)
    network = network or TinyNetwork()
    loader = torch.utils.data.DataLoader(data, batch_size=2, collate_fn=torch.utils.data.default_collate)
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=loader,
        network=network,
        prepare_batch=prepare_batch,
        key_val_metric={"score": key_metric},
        additional_metrics=of_tasks(metrics, attached),
        val_handlers=handlers,
    )
    return evaluator, network


@pytest.mark.parametrize("attached", [(), ("dose",), TASKS])
def test_in_an_evaluator_over_two_epochs(attached):
    data = make_data()
    evaluator, network = make_evaluator(data, make_metrics(), attached)
    scores = []
    for epoch, shift in enumerate((0.1, 0.5), start=1):
        network.shift.data.fill_(shift)
        evaluator.run(global_epoch=epoch)
        values = expected_values(data, shift)
        scores.append((values["dice"] + 1 - values["dose_score"] / 8) / 2)
        assert evaluator.state.metrics["score"] == pytest.approx(scores[-1], abs=1e-6)
        named = {"dice"} if "segmentation" in attached else set()
        named |= {"dose_score"} if "dose" in attached else set()
        assert set(evaluator.state.metrics) == named | {"score"}
        assert set(evaluator.state.metric_details) == named
        for name in named:
            assert evaluator.state.metrics[name] == pytest.approx(values[name], abs=1e-6)
            assert len(evaluator.state.metric_details[name]) == len(data)
    assert scores[1] != pytest.approx(scores[0])
    assert evaluator.state.best_metric == pytest.approx(max(scores), abs=1e-6)
    assert evaluator.state.best_metric_epoch == 1 + int(np.argmax(scores))


@pytest.mark.parametrize("task", TASKS)
def test_one_active_task(task):
    data = make_data()
    evaluator, network = make_evaluator(data, make_metrics(), (task,), (task,))
    network.shift.data.fill_(0.25)
    evaluator.run()
    values = expected_values(data, 0.25)
    expected = {"segmentation": values["dice"], "dose": 1 - values["dose_score"] / 8}[task]
    assert evaluator.state.metrics["score"] == pytest.approx(expected, abs=1e-6)


def test_task_without_labels_is_left_out():
    data = make_data(unknown=("segmentation",))
    evaluator, _ = make_evaluator(data, make_metrics())
    evaluator.run()
    assert math.isnan(evaluator.state.metrics["dice"])
    expected = 1 - expected_values(data, 0)["dose_score"] / 8
    assert evaluator.state.metrics["score"] == pytest.approx(expected, abs=1e-6)


def test_no_labels_at_all_never_stays_the_best(tmp_path, caplog):
    data = make_data(unknown=TASKS)
    network = TinyNetwork()
    saver = CheckpointSaver(str(tmp_path), {"network": network}, save_key_metric=True, key_metric_filename="best.pt")
    evaluator, _ = make_evaluator(data, make_metrics(), network=network, handlers=[saver])
    evaluator.run(global_epoch=1)
    assert evaluator.state.metrics["score"] == -math.inf
    assert "no case had a label for segmentation, dose" in caplog.text
    evaluator.data_loader.dataset[:] = make_data()
    network.shift.data.fill_(0.4)
    evaluator.run(global_epoch=2)
    assert evaluator.state.best_metric_epoch == 2
    assert math.isfinite(evaluator.state.best_metric)
    saved = torch.load(tmp_path / "best.pt", weights_only=True)
    assert next(iter(saved.values())).item() == pytest.approx(0.4)


def test_broken_network_is_never_the_best():
    evaluator, network = make_evaluator(make_data(), make_metrics())
    network.shift.data.fill_(math.nan)
    evaluator.run()
    assert evaluator.state.metrics["score"] == -math.inf


def test_takes_metrics_of_monai_and_ignite():
    data = make_data()
    mean_error = MeanAbsoluteError(output_transform=lambda o: from_engine(["a", "b"])([pair(i) for i in o]))
    evaluator, _ = make_evaluator(data, {"dose": {"error": mean_error}}, ("dose",), ("dose",))
    evaluator.run()
    assert evaluator.state.metrics["score"] == pytest.approx(1 - expected_values(data, 0)["dose_score"] / 8, abs=1e-6)
    assert isinstance(mean_error.metric_fn, MAEMetric)
    assert mean_error.save_details


def pair(item):
    return {"a": item["pred"]["dose"], "b": item["label"]["dose"]}


def test_errors_say_what_is_wrong():
    metrics = {task: next(iter(m.values())) for task, m in make_metrics().items()}
    with pytest.raises(ConfigError, match="no task is active"):
        KeyMetric(metrics, TRIVIAL, PERFECT, [])
    with pytest.raises(ConfigError, match="metrics has no entry for diagnosis"):
        KeyMetric(metrics, TRIVIAL, PERFECT, ["dose", "diagnosis"])
    with pytest.raises(ConfigError, match="trivial has no entry for dose"):
        KeyMetric(metrics, {}, PERFECT, ["dose"])
    with pytest.raises(ConfigError, match="two different finite"):
        KeyMetric(metrics, {"dose": 0.0}, PERFECT, ["dose"])


def test_of_tasks():
    metrics = make_metrics()
    assert list(of_tasks(metrics, ["dose"])) == ["dose_score"]
    assert of_tasks(metrics, TASKS)["dice"] is metrics["segmentation"]["dice"]
    assert of_tasks(metrics, ["diagnosis"]) == {}
    with pytest.raises(ConfigError, match="'dice' stands twice"):
        of_tasks({**metrics, "other": metrics["segmentation"]}, [*TASKS, "other"])
