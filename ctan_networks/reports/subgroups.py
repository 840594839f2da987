# SPDX-License-Identifier: Apache-2.0
"""Scores of a classification in subgroups of its cases, such as by sex, age or site."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.metrics.bootstrap import bootstrap_interval
from ctan_networks.metrics.classification import compute_balanced_accuracy, compute_recall, compute_roc_auc

__all__ = ["subgroup_scores"]

RESAMPLES = 2000
UNKNOWN = "unknown"


def subgroup_scores(
    predictions: pd.DataFrame,
    attributes: pd.DataFrame,
    task: str,
    by: Sequence[str],
    key: str,
    edges: Sequence[float] = (),
    watched: str | None = None,
) -> pd.DataFrame:
    """Score each subgroup by itself, with 95 % intervals by a bootstrap over patients or lesions.

    Args:
        predictions: ``predictions.csv`` of an evaluation: case, group, ``reference_<task>``, ``p_<task>_<class>``.
        attributes: a table with a row for each case.
        task: the classification.
        by: columns of ``attributes``; numbers are put into the ranges between ``edges``. A case without a value, or
            without a row, is in the subgroup "unknown".
        key: column of ``attributes`` that holds the names of the cases.
        edges: ascending limits of numbers, such as ages; the lower one belongs to a range.
        watched: a class whose recall is given too, such as melanoma.

    Returns:
        One row a subgroup, and one for all: attribute, value, cases, groups, classes (how many of them are there),
        balanced_accuracy, roc_auc and recall, each with ``_low`` and ``_high``. NaN where not defined.

    Raises:
        ConfigError: when there is no such task, class or column.
        DataError: when a case has two rows in ``attributes``, or nothing is labelled.

    """
    names = [c.removeprefix(f"p_{task}_") for c in predictions.columns if c.startswith(f"p_{task}_")]
    if not names or f"reference_{task}" not in predictions:
        raise ConfigError(f"the predictions hold no task {task!r}: their columns are {', '.join(predictions.columns)}.")
    if watched is not None and watched not in names:
        raise ConfigError(f"{task} has no class {watched!r}: there are {', '.join(names)}.")
    missing = [column for column in (key, *by) if column not in attributes]
    if missing:
        raise ConfigError(f"the table has no column {', '.join(missing)}: there are {', '.join(attributes.columns)}.")
    known = predictions[predictions[f"reference_{task}"].notna()]
    if known.empty:
        raise DataError(f"no case has a known {task}.")
    twice = attributes[key][attributes[key].duplicated()]
    if len(twice):
        raise DataError(f"the table names {twice.iloc[0]} twice, and {len(twice) - 1} more cases.")
    joined = known.merge(attributes[[key, *by]], left_on="case", right_on=key, how="left", suffixes=("", "_attribute"))
    rows = [_scores("all", "", joined, task, names, watched)]
    for column in by:
        own = column if column in joined else f"{column}_attribute"
        values = _ranges(joined[own], edges)
        rows += [_scores(column, value, part, task, names, watched) for value, part in joined.groupby(values)]
    return pd.DataFrame(rows)


def _ranges(values: pd.Series, edges: Sequence[float]) -> pd.Series:
    if len(edges) and pd.api.types.is_numeric_dtype(values):
        limits = [-np.inf, *edges, np.inf]
        labels = [f"< {edges[0]:g}", *(f"{a:g} to {b:g}" for a, b in pairwise(edges)), f">= {edges[-1]:g}"]
        cut = pd.cut(values, limits, right=False, labels=labels)
        return cut.cat.add_categories(UNKNOWN).fillna(UNKNOWN).cat.remove_unused_categories()
    return values.astype(object).where(values.notna(), UNKNOWN).astype(str)


def _scores(
    attribute: str, value: Any, part: pd.DataFrame, task: str, names: Sequence[str], watched: str | None
) -> dict[str, Any]:
    probabilities = part[[f"p_{task}_{name}" for name in names]].to_numpy(float)
    labels = part[f"reference_{task}"].map({name: k for k, name in enumerate(names)}).to_numpy(int)
    statistics: dict[str, Any] = {
        "balanced_accuracy": partial(compute_balanced_accuracy, probabilities, labels),
        "roc_auc": partial(compute_roc_auc, probabilities, labels),
    }
    if watched is not None:
        statistics["recall"] = partial(compute_recall, probabilities, labels, names.index(watched))
    row = {
        "attribute": attribute,
        "value": value,
        "cases": len(part),
        "groups": part["group"].nunique(),
        "classes": len(np.unique(labels)),
    }
    for name, statistic in statistics.items():
        interval = bootstrap_interval(lambda weights, s=statistic: s(weights=weights), part["group"], RESAMPLES)  # type: ignore[misc]
        row |= {name: float(statistic()), f"{name}_low": interval.low, f"{name}_high": interval.high}
    return row
