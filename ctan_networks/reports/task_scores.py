# SPDX-License-Identifier: Apache-2.0
"""What the rows of an evaluation of any tasks come to: scores with intervals over groups, one row a case."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ctan_networks.metrics.bootstrap import bootstrap_interval
from ctan_networks.reports.classification_cases import ClassifiedCase
from ctan_networks.reports.classification_tables import capital, class_scores
from ctan_networks.reports.tables import Row, to_frame

__all__ = ["structure_table", "task_scores", "wide_table"]

RESAMPLES = 2000
# Of a dense task's kind: metric of its rows, name of the score, title, whether higher is better.
DENSE = {
    "segmentation": ("dice", "mean_dice", "mean Dice", True),
    "regression": ("mae", "mae", "mean absolute error", False),
}


def task_scores(
    tasks: Mapping[str, Mapping[str, Any]],
    rows: Sequence[Row],
    groups: Mapping[str, str],
    classified: Sequence[ClassifiedCase],
    classes: Mapping[str, Sequence[str]],
) -> list[dict[str, Any]]:
    """One entry a score: mean over cases of a dense task's metric, then the scores of each classification.

    Args:
        tasks: the task list.
        rows: of all cases.
        groups: case to its group.
        classified: the cases with a class.
        classes: classification task to the names of its classes.

    Returns:
        entries with ``name``, ``title``, ``unit``, ``higher_is_better``, ``value`` (NaN where it is not defined),
        ``low`` and ``high`` of the bootstrap 95 % interval over groups, ``undefined`` share of the resamples, ``n``
        cases and ``groups``.
    """
    table = to_frame(rows)
    entries = []
    for task, spec in tasks.items():
        if spec["kind"] not in DENSE:
            continue
        metric, name, title, higher = DENSE[spec["kind"]]
        own = table[(table["task"] == task) & (table["metric"] == metric)].dropna(subset="value")
        # Mean over the structures of a case, then over cases.
        means = own.groupby("case", sort=False)["value"].mean()
        values, members = means.to_numpy(float), [groups[case] for case in means.index]
        interval = bootstrap_interval(_mean_of(values), members, RESAMPLES)
        entries.append(
            {
                "name": f"{task}_{name}",
                "title": f"{capital(task)}: {title}",
                "unit": "",
                "higher_is_better": higher,
                "value": float(values.mean()) if values.size else float("nan"),
                "low": interval.low,
                "high": interval.high,
                "undefined": interval.undefined,
                "n": len(values),
                "groups": len(set(members)),
            }
        )
    return entries + (class_scores(classified, classes, None) if classified else [])


def _mean_of(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda weights: weights @ values / weights.sum(1)


def structure_table(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One entry a structure of each segmentation: ``n`` cases with a Dice, ``mean``, ``median``, ``min``."""
    table = to_frame(rows)
    dice = table[table["metric"] == "dice"].dropna(subset="value")
    entries = []
    for (task, structure), own in dice.groupby(["task", "structure"], sort=False)["value"]:
        entries.append({"task": str(task), "structure": str(structure), "n": len(own)})
        entries[-1] |= {"mean": float(own.mean()), "median": float(own.median()), "min": float(own.min())}
    return entries


def wide_table(cases: Sequence[str], groups: Sequence[str], rows: Sequence[Row]) -> pd.DataFrame:
    """One row a case with ``case``, ``group`` and a column for each task, structure and metric."""
    columns: dict[str, dict[str, float]] = {}
    for row in rows:
        name = "_".join(part.replace(" ", "_") for part in (row.task, row.structure, row.metric) if part)
        columns.setdefault(name, {})[row.case] = row.value
    numbers = {name: [values.get(case, np.nan) for case in cases] for name, values in columns.items()}
    return pd.DataFrame({"case": list(cases), "group": list(groups), **numbers})
