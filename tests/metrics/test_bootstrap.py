# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
import time

import numpy as np
import pytest
from scipy.stats import bootstrap
from sklearn.metrics import roc_auc_score

from ctan_networks.metrics import bootstrap as module_of
from ctan_networks.metrics import bootstrap_interval, compute_roc_auc

GROUPS = np.array(["a", "b", "b", "c", "d", "d", "d", "e", "f", "g", "g", "h"])


def test_whole_groups_are_drawn():
    seen = []

    def statistic(weights):
        seen.append(weights)
        return weights.sum(1)

    bootstrap_interval(statistic, GROUPS, resamples=500)
    weights = np.concatenate(seen)
    assert weights.shape == (500, len(GROUPS))
    names, first = np.unique(GROUPS, return_index=True)
    for name, index in zip(names, first, strict=True):
        assert (weights[:, name == GROUPS] == weights[:, [index]]).all(), "cases of a group stay together"
    assert (weights[:, first].sum(1) == len(names)).all(), "as many groups as there are"
    np.testing.assert_allclose(weights[:, first].mean(0), 1, atol=0.2)


def test_agrees_with_a_loop_over_resampled_images():
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1, 2], 4)
    probs = rng.dirichlet(np.ones(3), len(labels)).round(1)
    seen = []

    def statistic(weights):
        seen.append(weights)
        return compute_roc_auc(probs, labels, weights)

    interval = bootstrap_interval(statistic, GROUPS, resamples=200)
    values = []
    for row in np.concatenate(seen):
        drawn = np.repeat(np.arange(len(labels)), row.astype(int))
        y, p = labels[drawn], probs[drawn]
        classes = [c for c in range(3) if 0 < (y == c).sum() < len(y)]
        values.append(np.mean([roc_auc_score(y == c, p[:, c]) for c in classes]) if classes else np.nan)
    expected = np.nanpercentile(values, [2.5, 97.5])
    np.testing.assert_allclose(interval[:2], expected, rtol=0, atol=1e-12)
    assert interval.undefined == pytest.approx(np.isnan(values).mean())


def test_agrees_with_scipy_where_each_case_is_a_group():
    values = np.random.default_rng(3).gamma(2, size=40)
    ours = bootstrap_interval(lambda w: w @ values / w.sum(1), np.arange(40), resamples=20_000, level=0.9)
    theirs = bootstrap((values,), np.mean, method="percentile", confidence_level=0.9, n_resamples=20_000, rng=1)
    np.testing.assert_allclose(ours[:2], theirs.confidence_interval, atol=0.02)


def test_the_seed_and_not_the_size_of_chunks_decides(monkeypatch):
    values = np.arange(len(GROUPS), dtype=float)

    def mean(weights):
        return weights @ values / weights.sum(1)

    first = bootstrap_interval(mean, GROUPS)
    assert bootstrap_interval(mean, GROUPS) == first != bootstrap_interval(mean, GROUPS, seed=1)
    monkeypatch.setattr(module_of, "CHUNK", 100)
    assert bootstrap_interval(mean, GROUPS) == pytest.approx(first, abs=1e-12)


def test_no_interval_where_none_can_be_given():
    assert math.isnan(bootstrap_interval(lambda w: w.sum(1), ["a", "a"]).low)
    assert math.isnan(bootstrap_interval(lambda w: w.sum(1), []).high)
    rare = bootstrap_interval(lambda w: np.where(w[:, 0] > 1, w[:, 0], np.nan), GROUPS)
    assert math.isnan(rare.low) and rare.undefined > 0.5


def test_is_quick():
    rng = np.random.default_rng(0)
    probs, labels = rng.dirichlet(np.ones(7), 2000), rng.integers(0, 7, 2000)
    start = time.perf_counter()
    interval = bootstrap_interval(lambda w: compute_roc_auc(probs, labels, w), rng.integers(0, 1500, 2000))
    assert time.perf_counter() - start < 10, "2000 resamples of 7 classes take half a second"
    assert interval.low < compute_roc_auc(probs, labels) < interval.high
