# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import wilcoxon

from ctan_networks.errors import DataError
from ctan_networks.tools.comparison.results import Measured
from ctan_networks.tools.comparison.statistics import check_same_cases, compare_methods, delta_table, holm, score_rows


def casewise(values, task="segmentation", metric="dice", groups=None, higher=True):
    values = np.asarray(values, float)
    cases = tuple(f"c{k:02}" for k in range(len(values)))
    return Measured(task, metric, higher, cases, tuple(groups or cases), lambda w: (w @ values) / w.sum(1), values)


def cohort(values, **kwargs):
    """As a metric of the whole cohort: the same numbers, but no case has one of its own."""
    measured = casewise(values, **kwargs)
    return Measured(
        *[getattr(measured, f) for f in ("task", "metric", "higher_is_better", "cases", "groups", "statistic")], None
    )


def run(*measured):
    return {(m.task, m.metric): m for m in measured}


def test_means_and_delta_by_hand():
    """Dice 0.5 to 0.55 is +10 %; dose score 4 to 3 Gy is +25 %; over two tasks 17.5 %."""
    single = [run(casewise([0.4, 0.6]), casewise([4, 4], "dose", "dose_score", higher=False)) for _ in range(2)]
    multi = [
        run(casewise([0.5, 0.5]), casewise([3, 3], "dose", "dose_score", higher=False)),
        run(casewise([0.6, 0.6]), casewise([3, 3], "dose", "dose_score", higher=False)),
    ]
    evaluations = {"STL": single, "CTAN, equal": multi}
    rows = {(r["method"], r["metric"]): r for r in score_rows(evaluations)}
    assert rows["CTAN, equal", "dice"]["mean"] == pytest.approx(0.55)
    assert rows["CTAN, equal", "dice"]["sd"] == pytest.approx(math.sqrt(0.005))
    (delta,) = delta_table(evaluations, "STL")
    assert delta["delta"] == pytest.approx((10 + 25) / 2)
    assert delta["tasks"] == pytest.approx({"segmentation": 10, "dose": 25})
    assert delta["runs"] == pytest.approx([12.5, 22.5])
    assert delta["low"] <= delta["delta"] <= delta["high"]


def test_delta_on_a_baseline_of_zero_is_not_defined():
    (row,) = delta_table({"STL": [run(casewise([0, 0]))], "CTAN, equal": [run(casewise([1, 0]))]}, "STL")
    assert math.isnan(row["delta"]) and math.isnan(row["low"]) and math.isnan(row["runs"][0])


def test_casewise_metrics_get_wilcoxon_of_the_means_over_seeds():
    rng = np.random.default_rng(0)
    base = rng.random(20)
    a = [run(casewise(base + rng.normal(0.02, 0.02, 20))) for _ in range(3)]
    b = [run(casewise(base + rng.normal(0, 0.02, 20))) for _ in range(3)]
    (row,) = compare_methods({"A": a, "B": b}, [("A", "B")])
    key = ("segmentation", "dice")
    means = [np.mean([r[key].per_case for r in runs], 0) for runs in (a, b)]
    assert row["test"] == "Wilcoxon" and row["p"] == pytest.approx(wilcoxon(*means).pvalue)
    assert row["difference"] == pytest.approx(np.mean(means[0] - means[1])) and row["better"] is True


def test_cohort_metrics_get_a_paired_bootstrap_over_groups():
    rng = np.random.default_rng(1)
    base = rng.normal(0, 1, 60)
    same, other = [run(cohort(base))], [run(cohort(base + 0.05))]
    (row,) = compare_methods({"A": other, "B": same}, [("A", "B")])
    # A constant shift: paired, the difference is 0.05 in every resample, however noisy the cases are.
    assert row["test"] == "paired bootstrap" and (row["low"], row["high"]) == pytest.approx((0.05, 0.05))
    assert row["p"] == pytest.approx(2 / 2001)
    (row,) = compare_methods({"A": same, "B": same}, [("A", "B")])
    assert row["p"] == 1.0 and row["better"] is None


def test_cases_of_one_group_are_drawn_together():
    """Twenty cases in two groups: the interval is as wide as that of two cases."""
    values = [0.0] * 10 + [1.0] * 10
    zero = [run(cohort([0.0] * 20, groups=["a"] * 10 + ["b"] * 10))]
    grouped = {"A": [run(cohort(values, groups=["a"] * 10 + ["b"] * 10))], "B": zero}
    (row,) = compare_methods(grouped, [("A", "B")])
    assert (row["low"], row["high"]) == (0.0, 1.0)


def test_holm_against_the_published_procedure():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    found = holm([0.5, math.nan, 0.4])
    assert found[0] == pytest.approx(0.8) and math.isnan(found[1]) and found[2] == pytest.approx(0.8)


def test_different_cases_are_refused():
    with pytest.raises(DataError, match="B: 1 cases of segmentation dice"):
        check_same_cases({"A": [run(casewise([1, 2, 3]))], "B": [run(casewise([1, 2]))]})
