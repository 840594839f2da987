# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.handlers import IgniteMetricHandler, from_engine
from monai.metrics import CalibrationErrorMetric
from sklearn.metrics import accuracy_score, balanced_accuracy_score, recall_score, roc_auc_score

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.metrics import (
    ClassificationScore,
    compute_accuracy,
    compute_balanced_accuracy,
    compute_ece,
    compute_recall,
    compute_roc_auc,
)
from ctan_networks.metrics.classification import METRICS


def make_cases(classes: int, cases: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities with many ties, labels of all classes but the third, integer weights with zeros."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([c for c in range(classes) if c != 2], cases)
    probs = rng.dirichlet(np.ones(classes) / 2, cases) + 0.4 * np.eye(classes)[labels]
    probs = (probs / probs.sum(1, keepdims=True)).round(1)
    return probs, labels, rng.integers(0, 4, cases)


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("weighted", [False, True])
def test_agrees_with_scikit_learn(classes, weighted):
    probs, labels, weights = make_cases(classes)
    given = weights if weighted else None
    predicted = probs.argmax(1)
    assert compute_accuracy(probs, labels, given) == pytest.approx(
        accuracy_score(labels, predicted, sample_weight=given), abs=1e-12
    )
    assert compute_balanced_accuracy(probs, labels, given) == pytest.approx(
        balanced_accuracy_score(labels, predicted, sample_weight=given), abs=1e-12
    )
    for c in (0, 1):
        assert compute_recall(probs, labels, c, given) == pytest.approx(
            recall_score(labels == c, predicted == c, sample_weight=given), abs=1e-12
        )
    # The third class has no positive and is left out.
    positive = [1] if classes == 2 else [c for c in range(classes) if c != 2]
    areas = [roc_auc_score(labels == c, probs[:, c], sample_weight=given) for c in positive]
    assert compute_roc_auc(probs, labels, given) == pytest.approx(np.mean(areas), abs=1e-12)


def test_roc_auc_is_the_share_of_pairs_in_order():
    probs, labels, weights = make_cases(2, 25)
    scores = probs[:, 1]
    pairs = [
        (weights[i] * weights[j], (scores[i] > scores[j]) + (scores[i] == scores[j]) / 2)
        for i in np.flatnonzero(labels == 1)
        for j in np.flatnonzero(labels == 0)
    ]
    expected = sum(w * won for w, won in pairs) / sum(w for w, _ in pairs)
    assert compute_roc_auc(probs, labels, weights) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("bins", [10, 15])
def test_ece_by_its_definition(bins):
    probs, labels, weights = make_cases(3, 80)
    probs = np.random.default_rng(1).dirichlet(np.ones(3), 80)
    probs[0] = [1, 0, 0]
    confidence, correct = probs.max(1), probs.argmax(1) == labels
    expected = 0.0
    for m in range(bins):
        inside = (confidence > m / bins) & (confidence <= (m + 1) / bins)
        n = weights[inside].sum()
        if n:
            gap = np.average(correct[inside], weights=weights[inside]) - np.average(
                confidence[inside], weights=weights[inside]
            )
            expected += n / weights.sum() * abs(gap)
    assert compute_ece(probs, labels, bins, weights) == pytest.approx(expected, abs=1e-12)


def test_ece_agrees_with_monai():
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(2), 200)
    # MONAI's is of each class's own probability; that of "is the top class right" as class 0 is the same thing here.
    right = probs.argmax(1) == rng.integers(0, 2, 200)
    top = torch.tensor(probs.max(1))
    metric = CalibrationErrorMetric(num_bins=15, calibration_reduction="expected", right=True)
    metric(torch.stack([top, 1 - top])[None], torch.tensor(np.stack([right, ~right]))[None].long())
    labels = np.where(right, probs.argmax(1), 1 - probs.argmax(1))
    ours = compute_ece(probs, labels)
    assert ours == pytest.approx(float(metric.aggregate()), abs=1e-6)


@pytest.mark.parametrize("name", METRICS)
def test_many_resamples_at_once_are_those_one_by_one(name):
    probs, labels, _ = make_cases(4)
    labels[::7] = -1
    weights = np.random.default_rng(2).integers(0, 3, (20, len(labels)))
    weights[3] = 0
    together = METRICS[name](probs, labels, weights=weights)
    assert together.shape == (20,) and np.isnan(together[3])
    alone = [METRICS[name](probs, labels, weights=row) for row in weights]
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-12)
    known = labels != -1
    assert METRICS[name](probs, labels) == pytest.approx(METRICS[name](probs[known], labels[known]), abs=1e-15)
    repeated = np.repeat(np.flatnonzero(known), weights[0][known])
    assert together[0] == pytest.approx(METRICS[name](probs[repeated], labels[repeated]), abs=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_nothing_known_is_nan(name):
    assert math.isnan(METRICS[name](np.full((3, 2), 0.5), np.full(3, -1)))
    metric = ClassificationScore(name)
    metric([torch.tensor([0.4, 0.6])], [torch.tensor(-1)])
    assert metric.aggregate().isnan()


def test_broken_probabilities_are_the_worst_there_are():
    labels = np.array([0, 1, 2, 0])
    nan = np.full((4, 3), np.nan)
    assert compute_accuracy(nan, labels) == compute_balanced_accuracy(nan, labels) == 0
    assert compute_ece(nan, labels) == 1 and compute_roc_auc(nan, labels) == 0


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("shape", [(), (1,)])
def test_works_in_an_engine(name, shape):
    probs, labels, _ = make_cases(7, 30)
    labels[4] = -1
    items = [
        {"p": torch.tensor(p, dtype=torch.float32), "y": torch.tensor(y).reshape(shape)}
        for p, y in zip(probs, labels, strict=True)
    ]
    engine = Engine(lambda engine, batch: batch)
    IgniteMetricHandler(ClassificationScore(name), output_transform=from_engine(["p", "y"])).attach(engine, name)
    for _ in range(2):
        state = engine.run([items[:9], items[9:]])
        assert state.metrics[name] == pytest.approx(METRICS[name](probs, labels), abs=1e-6)
    metric = ClassificationScore(name)
    metric(torch.tensor(probs), torch.tensor(labels).reshape(-1, *shape))
    assert metric.aggregate().item() == pytest.approx(METRICS[name](probs, labels), abs=1e-12)


def test_gathers_over_processes(monkeypatch):
    probs, labels, _ = make_cases(3, 20)
    other = make_cases(3, 11, seed=5)
    there = [torch.tensor(other[0]), torch.tensor(other[1])]

    def gather(data, concat):
        return torch.cat([data, there[data.ndim == 1]])

    monkeypatch.setattr("monai.metrics.metric.evenly_divisible_all_gather", gather)
    metric = ClassificationScore("roc_auc")
    metric(torch.tensor(probs), torch.tensor(labels))
    expected = compute_roc_auc(np.concatenate([probs, other[0]]), np.concatenate([labels, other[1]]))
    assert metric.aggregate().item() == pytest.approx(expected, abs=1e-12)


def test_errors_say_what_is_wrong():
    with pytest.raises(ConfigError, match="metric must be one of accuracy, .*'f1'"):
        ClassificationScore("f1")
    with pytest.raises(DataError, match="no case was scored"):
        ClassificationScore("ece").aggregate()
    with pytest.raises(DataError, match="must be"):
        ClassificationScore("ece")(torch.rand(3, 2), torch.zeros(4))
    metric = ClassificationScore("accuracy")
    metric(torch.tensor([[3.0, -1.0]]), torch.tensor([0]))
    with pytest.raises(DataError, match="softmax"):
        metric.aggregate()
    with pytest.raises(DataError, match=r"labels \[-2, 2\]: there are classes 0 to 1"):
        compute_accuracy(np.full((3, 2), 0.5), np.array([2, -2, -1]))
    with pytest.raises(DataError, match="weights"):
        compute_accuracy(np.full((3, 2), 0.5), np.array([0, 1, 1]), np.ones(2))
