# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ctan_networks.errors import ConfigError
from ctan_networks.losses import DynamicWeightAverage, EqualWeighting, UncertaintyWeighting, make_weighting

TASKS = ["segmentation", "dose", "diagnosis"]
EPOCHS = np.array([[1.8, 0.40, 2.0], [1.2, 0.36, 1.9], [1.1, 0.20, 1.9], [0.9, 0.19, 0.5], [1.0, 0.05, 0.4]])


def named(values):
    return dict(zip(TASKS, values, strict=True))


def scalars(*values):
    return {task: torch.tensor(v, requires_grad=True) for task, v in zip(TASKS, values, strict=False)}


@pytest.mark.parametrize("temperature", [2.0, 0.5])
def test_dynamic_weight_average_from_the_definition(temperature):
    weighting = DynamicWeightAverage(TASKS, temperature)
    for t in range(len(EPOCHS) + 1):
        expected = np.ones(3)
        if t >= 2:
            e = np.exp(EPOCHS[t - 1] / EPOCHS[t - 2] / temperature)
            expected = 3 * e / e.sum()
        assert weighting.weights == pytest.approx(named(expected), rel=1e-5)
        losses = scalars(1.0, 2.0, 3.0)
        total = weighting(losses)
        assert total.item() == pytest.approx(expected @ [1, 2, 3], rel=1e-5)
        total.backward()
        assert [losses[task].grad.item() for task in TASKS] == pytest.approx(list(expected), rel=1e-5)
        if t < len(EPOCHS):
            weighting.update(named(EPOCHS[t]))


def test_dynamic_weight_average_worked_by_hand():
    weighting = DynamicWeightAverage(["a", "b"])
    weighting.update({"a": 1.0, "b": 1.0})
    assert weighting.weights == {"a": 1.0, "b": 1.0}
    weighting.update({"a": 1.0, "b": 0.5})
    # softmax([1, 0.5] / 2): e^0.5 = 1.648721, e^0.25 = 1.284025
    assert weighting.weights == pytest.approx({"a": 1.124353, "b": 0.875647}, abs=1e-6)


@pytest.mark.parametrize("missing", [{}, {"b": math.nan}])
def test_dynamic_weight_average_keeps_the_last_value_of_an_unlabelled_epoch(missing):
    weighting = DynamicWeightAverage(["a", "b"])
    weighting.update({"a": 1.0, "b": 0.8})
    weighting.update({"a": 0.5, **missing})  # b: 0.8 again
    e = np.exp(np.array([0.5, 1.0]) / 2)
    assert list(weighting.weights.values()) == pytest.approx(list(2 * e / e.sum()), rel=1e-5)
    weighting.update({"a": 0.5, "b": 0.2})
    e = np.exp(np.array([1.0, 0.25]) / 2)
    assert list(weighting.weights.values()) == pytest.approx(list(2 * e / e.sum()), rel=1e-5)


@pytest.mark.parametrize("older", [math.nan, 0.0])
def test_dynamic_weight_average_without_a_ratio(older):
    weighting = DynamicWeightAverage(["a", "b"])
    weighting.update({"a": 1.0, "b": older})
    weighting.update({"a": 1.0, "b": 0.3})
    assert weighting.weights == {"a": 1.0, "b": 1.0}


def test_dynamic_weight_average_survives_a_resume():
    whole, first, second = (DynamicWeightAverage(TASKS) for _ in range(3))
    for epoch in EPOCHS:
        whole.update(named(epoch))
    for epoch in EPOCHS[:2]:
        first.update(named(epoch))
    second.load_state_dict(first.state_dict())
    assert second.weights == first.weights
    for epoch in EPOCHS[2:]:
        second.update(named(epoch))
    assert second.weights == whole.weights


def test_uncertainty_value_and_gradient():
    weighting = UncertaintyWeighting(TASKS)
    losses = scalars(1.5, 0.2, 1.9)
    assert weighting(losses).item() == pytest.approx(3.6)  # at the start as equal weights
    s, values = np.array([0.3, -1.0, 0.5]), np.array([1.5, 0.2, 1.9])
    with torch.no_grad():
        weighting.log_variances.copy_(torch.tensor(s))
    total = weighting(losses)
    assert total.item() == pytest.approx((np.exp(-s) * values + s).sum(), rel=1e-6)
    total.backward()
    assert weighting.log_variances.grad.tolist() == pytest.approx(list(1 - np.exp(-s) * values), rel=1e-5)
    assert [losses[task].grad.item() for task in TASKS] == pytest.approx(list(np.exp(-s)), rel=1e-6)
    assert weighting.weights == pytest.approx(named(np.exp(-s)), rel=1e-6)


def test_uncertainty_leaves_out_what_is_not_labelled():
    weighting = UncertaintyWeighting(TASKS)
    with torch.no_grad():
        weighting.log_variances.fill_(0.7)
    total = weighting({"dose": torch.tensor(0.2)})
    assert total.item() == pytest.approx(np.exp(-0.7) * 0.2 + 0.7)
    total.backward()
    gradient = weighting.log_variances.grad
    assert gradient[0] == 0 and gradient[2] == 0 and gradient[1] != 0
    gradient.zero_()
    weighting({}).backward()
    assert (gradient == 0).all()


def test_uncertainty_finds_its_minimum():
    weighting = UncertaintyWeighting(["a", "b"])
    optimizer = torch.optim.SGD(weighting.parameters(), lr=0.2)
    for _ in range(200):
        optimizer.zero_grad()
        weighting({"a": torch.tensor(0.2), "b": torch.tensor(3.0)}).backward()
        optimizer.step()
    assert weighting.log_variances.exp().tolist() == pytest.approx([0.2, 3.0], rel=1e-3)


@pytest.mark.parametrize("name", ["equal", "dwa", "uncertainty"])
def test_one_task_is_the_plain_loss(name):
    weighting = make_weighting(name, ["dose"])
    for value in (0.5, 0.3, 0.2):
        loss = torch.tensor(value, requires_grad=True)
        total = weighting({"dose": loss})
        total.backward()
        assert total.item() == loss.item() and loss.grad == 1
        weighting.update({"dose": value})
        assert weighting.weights == {"dose": 1.0}


@pytest.mark.parametrize("name", ["equal", "dwa", "uncertainty"])
def test_no_labelled_task_is_zero(name):
    assert make_weighting(name, TASKS)({}) == 0


def test_equal_stays_equal():
    weighting = EqualWeighting(TASKS)
    for epoch in EPOCHS:
        weighting.update(named(epoch))
    assert weighting.weights == named([1.0, 1.0, 1.0])
    assert weighting(scalars(1.0, 2.0, 3.0)).item() == 6


def test_wrong_arguments_are_refused():
    with pytest.raises(ConfigError, match="equal, dwa, uncertainty"):
        make_weighting("gradnorm", TASKS)
    with pytest.raises(ConfigError, match="temperature"):
        DynamicWeightAverage(TASKS, temperature=0)
    for tasks in ([], ["dose", "dose"], "dose"):
        with pytest.raises(ConfigError, match="tasks"):
            EqualWeighting(tasks)
