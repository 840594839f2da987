# SPDX-License-Identifier: Apache-2.0
"""From the evaluations of a comparison to its table: means over seeds, Delta_MTL with intervals, tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

import numpy as np
from scipy.stats import wilcoxon

from ctan_networks.errors import DataError
from ctan_networks.metrics import DeltaMTL, delta_mtl
from ctan_networks.tools.comparison.results import Measured

__all__ = ["Evaluations", "compare_methods", "delta_table", "holm", "score_rows"]

RESAMPLES = 2000
CHUNK = 200
Key = tuple[str, str]
Nested = dict[str, dict[str, float]]
# Method to its runs (seeds, folds); a run is what was measured, by (task, metric).
Evaluations = Mapping[str, Sequence[Mapping[Key, Measured]]]


def score_rows(evaluations: Evaluations) -> list[dict[str, Any]]:
    """Mean and standard deviation over runs of each metric of each method.

    Returns:
        rows with ``method``, ``task``, ``metric``, ``higher_is_better``, ``mean``, ``sd`` (NaN with one run), ``runs``,
        ``cases`` (of the first run) and ``values``, one a run.
    """
    rows = []
    for method, runs in evaluations.items():
        for key in runs[0]:
            values = [run[key].value for run in runs]
            first = runs[0][key]
            rows.append(
                {
                    "method": method,
                    "task": key[0],
                    "metric": key[1],
                    "higher_is_better": first.higher_is_better,
                    "mean": fmean(values),
                    "sd": stdev(values) if len(values) > 1 else math.nan,
                    "runs": len(values),
                    "cases": len(first.cases),
                    "values": values,
                }
            )
    return rows


def delta_table(evaluations: Evaluations, baseline: str, seed: int = 0) -> list[dict[str, Any]]:
    """Delta_MTL of each method against the baseline, of the means over runs.

    Returns:
        rows with ``method``, ``delta`` (per cent; NaN where a metric of the baseline is 0), ``low`` and ``high`` (95 %
        bootstrap interval over patients or lesions, runs held fixed), ``tasks`` (task to its share), and ``runs``:
        Delta_MTL run by run (seed by seed).
    """
    if baseline not in evaluations:
        return []
    directions = {key[1]: m.higher_is_better for key, m in evaluations[baseline][0].items()}

    def delta(base: Nested, other: Nested) -> DeltaMTL:
        # No change is relative to nothing.
        if any(not value > 0 for metrics in base.values() for value in metrics.values()):
            return DeltaMTL(math.nan, dict.fromkeys(base, math.nan))
        return delta_mtl(base, other, directions)

    drawn = _resampled(evaluations, seed)
    rows = []
    for method, runs in evaluations.items():
        if method == baseline:
            continue
        measured = delta(_means(evaluations[baseline]), _means(runs))
        resamples = [
            delta(_nested(drawn[baseline], k), _nested(drawn[method], k)).overall
            for k in range(RESAMPLES)
            if all(np.isfinite(drawn[m][key][k]) for m in (baseline, method) for key in drawn[m])
        ]
        resamples = [value for value in resamples if not math.isnan(value)]
        low, high = np.percentile(resamples, [2.5, 97.5]) if len(resamples) > RESAMPLES / 2 else (math.nan, math.nan)
        by_run = [delta(_means([b]), _means([r])).overall for b, r in zip(evaluations[baseline], runs, strict=False)]
        rows.append(
            {
                "method": method,
                "delta": measured.overall,
                "low": float(low),
                "high": float(high),
                "tasks": measured.tasks,
                "runs": by_run,
            }
        )
    return rows


def compare_methods(evaluations: Evaluations, pairs: Sequence[tuple[str, str]], seed: int = 0) -> list[dict[str, Any]]:
    """Test each metric of the first method of a pair against the second.

    A metric that each case has: Wilcoxon signed-rank test over cases, of the means over runs. A metric of the whole
    cohort: paired bootstrap over patients or lesions of the difference of the means over runs. The p-values of all
    tests are adjusted together after Holm (1979).

    Returns:
        rows with ``method``, ``reference``, ``task``, ``metric``, ``difference`` (method - reference), ``low`` and
        ``high`` (95 %), ``test``, ``p``, ``p_holm``, ``better``: True, False, or None when nothing differs.
    """
    drawn = _resampled(evaluations, seed)
    rows: list[dict[str, Any]] = []
    for method, reference in pairs:
        for key, first in evaluations[method][0].items():
            if key not in evaluations[reference][0]:
                continue
            difference = _mean(evaluations[method], key) - _mean(evaluations[reference], key)
            change = drawn[method][key] - drawn[reference][key]
            change = change[np.isfinite(change)]
            low, high = np.percentile(change, [2.5, 97.5]) if change.size > RESAMPLES / 2 else (math.nan, math.nan)
            if first.per_case is None:
                test, p = "paired bootstrap", _bootstrap_p(change)
            else:
                a, b = (_per_case(evaluations[m], key) for m in (method, reference))
                test, p = "Wilcoxon", float(wilcoxon(a, b).pvalue) if np.any(a != b) else 1.0
            rows.append(
                {
                    "method": method,
                    "reference": reference,
                    "task": key[0],
                    "metric": key[1],
                    "difference": difference,
                    "low": float(low),
                    "high": float(high),
                    "test": test,
                    "p": p,
                    "better": None if difference == 0 else (difference > 0) == first.higher_is_better,
                }
            )
    for row, adjusted in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = adjusted
    return rows


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values after Holm, Scand J Stat 6, 1979; NaN stays NaN and does not count."""
    known = sorted((p, k) for k, p in enumerate(p_values) if not math.isnan(p))
    adjusted = [math.nan] * len(p_values)
    highest = 0.0
    for rank, (p, k) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        adjusted[k] = highest
    return adjusted


def _resampled(evaluations: Evaluations, seed: int) -> dict[str, dict[Key, np.ndarray]]:
    """Of each method and metric the mean over runs in each resample; every method sees the same resamples."""
    names = sorted({g for runs in evaluations.values() for run in runs for m in run.values() for g in m.groups})
    index = {name: k for k, name in enumerate(names)}
    rng = np.random.default_rng(seed)
    found: dict[str, dict[Key, list[np.ndarray]]] = {m: {key: [] for key in r[0]} for m, r in evaluations.items()}
    for start in range(0, RESAMPLES, CHUNK):
        rows = min(CHUNK, RESAMPLES - start)
        often = np.stack(
            [np.bincount(d, minlength=len(names)) for d in rng.integers(0, len(names), (rows, len(names)))]
        )
        for method, runs in evaluations.items():
            for key in runs[0]:
                values = []
                for run in runs:
                    weights = often[:, [index[g] for g in run[key].groups]].astype(float)
                    with np.errstate(invalid="ignore", divide="ignore"):
                        values.append(run[key].statistic(weights))
                found[method][key].append(np.mean(values, 0))
    return {m: {key: np.concatenate(parts) for key, parts in keys.items()} for m, keys in found.items()}


def _per_case(runs: Sequence[Mapping[Key, Measured]], key: Key) -> np.ndarray:
    """Value of each case, mean over the runs that have it; cases in the order of their names."""
    values: dict[str, list[float]] = {}
    for run in runs:
        measured = run[key]
        assert measured.per_case is not None
        for case, value in zip(measured.cases, measured.per_case, strict=True):
            values.setdefault(case, []).append(float(value))
    return np.array([fmean(values[case]) for case in sorted(values)])


def _bootstrap_p(change: np.ndarray) -> float:
    if change.size == 0:
        return math.nan
    # With the observed sample among the resamples (Davison and Hinkley 1997, section 4.2) p is never 0.
    tail = min(int((change <= 0).sum()), int((change >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (change.size + 1))


def _mean(runs: Sequence[Mapping[Key, Measured]], key: Key) -> float:
    return fmean(run[key].value for run in runs)


def _means(runs: Sequence[Mapping[Key, Measured]]) -> dict[str, dict[str, float]]:
    nested: dict[str, dict[str, float]] = {}
    for task, metric in runs[0]:
        nested.setdefault(task, {})[metric] = _mean(runs, (task, metric))
    return nested


def _nested(values: Mapping[Key, np.ndarray], k: int) -> dict[str, dict[str, float]]:
    nested: dict[str, dict[str, float]] = {}
    for (task, metric), resamples in values.items():
        nested.setdefault(task, {})[metric] = float(resamples[k])
    return nested


def check_same_cases(evaluations: Evaluations) -> None:
    """Refuse to compare evaluations of different cases.

    Raises:
        DataError: naming a method, a metric and how many cases differ.
    """
    reference: dict[Key, set[str]] = {}
    for method, runs in evaluations.items():
        pooled: dict[Key, set[str]] = {}
        for run in runs:
            for key, measured in run.items():
                pooled.setdefault(key, set()).update(measured.cases)
        for key, cases in pooled.items():
            other = reference.setdefault(key, cases)
            if cases != other:
                raise DataError(
                    f"{method}: {len(cases ^ other)} cases of {key[0]} {key[1]} are not those of the others."
                )
