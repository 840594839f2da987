# SPDX-License-Identifier: Apache-2.0
"""What an evaluation measured, in a form that can be drawn again over patients or lesions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ctan_networks.errors import DataError, refuse_unknown
from ctan_networks.metrics.classification import (
    compute_accuracy,
    compute_balanced_accuracy,
    compute_ece,
    compute_roc_auc,
)

__all__ = ["Measured", "check_compared", "read_results"]

# Metrics of a whole cohort: name to function and whether higher is better.
COHORT: dict[str, tuple[Callable[..., Any], bool]] = {
    "balanced_accuracy": (compute_balanced_accuracy, True),
    "roc_auc": (compute_roc_auc, True),
    "accuracy": (compute_accuracy, True),
    "ece": (lambda p, y, weights: compute_ece(p, y, 15, weights), False),
}
# Metrics that each case has: name to task of the rows, whether higher is better. DVH score: one flat mean over rows.
CASEWISE = {
    "mean_dice": ("dice", True),
    "dice": ("dice", True),
    "jaccard": ("jaccard", True),
    "mae": ("mae", False),
    "dose_score": ("dose_score", False),
    "dvh_score": (None, False),
}


@dataclass(frozen=True)
class Measured:
    """One metric of one evaluation.

    Attributes:
        task: name of the task.
        metric: name of the metric.
        higher_is_better: its direction.
        cases: names of the N cases that have a label, sorted.
        groups: patient or lesion of each.
        statistic: from weights ``[R, N]`` (how often each case is drawn) to R values.
        per_case: ``[N]`` its value for each case; None for a metric of the whole cohort.
    """

    task: str
    metric: str
    higher_is_better: bool
    cases: tuple[str, ...]
    groups: tuple[str, ...]
    statistic: Callable[[np.ndarray], np.ndarray]
    per_case: np.ndarray | None

    @property
    def value(self) -> float:
        """The metric as it was measured."""
        return float(self.statistic(np.ones((1, len(self.cases))))[0])


def check_compared(compared: Mapping[str, Sequence[str]], tasks: Iterable[str]) -> None:
    """Refuse tasks and metrics that do not exist, before anything is trained.

    Raises:
        ConfigError: names the first.

    """
    refuse_unknown(compared, tasks, "compared")
    for task, names in compared.items():
        refuse_unknown(names, (*CASEWISE, *COHORT), f"compared, {task}")


def read_results(folder: Path, compared: Mapping[str, Sequence[str]]) -> dict[tuple[str, str], Measured]:
    """Read the numbers that an evaluation wrote.

    Args:
        folder: of the evaluation, with ``summary.json``, ``metrics.csv``, ``cases.csv`` and, for classification,
            ``predictions.csv``.
        compared: task to the names of its metrics; tasks that were not evaluated are left out.

    Returns:
        (task, metric) to what was measured.

    Raises:
        DataError: when a metric is unknown or was not measured.

    """
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    found = {}
    for task, names in compared.items():
        if task not in summary["tasks"]:
            continue
        for name in names:
            if name not in (*COHORT, *CASEWISE):
                known = ", ".join([*CASEWISE, *COHORT])
                raise DataError(f"there is no metric {name!r} of {task} to compare: choose among {known}.")
            found[task, name] = _cohort(folder, task, name) if name in COHORT else _casewise(folder, task, name)
    return found


def _cohort(folder: Path, task: str, name: str) -> Measured:
    table = pd.read_csv(folder / "predictions.csv", dtype={"case": str, "group": str}, keep_default_na=False)
    table = table[table[f"reference_{task}"] != ""].sort_values("case")
    columns = [c for c in table.columns if c.startswith(f"p_{task}_")]
    classes = [c.removeprefix(f"p_{task}_") for c in columns]
    probabilities = table[columns].to_numpy(float)
    labels = table[f"reference_{task}"].map(classes.index).to_numpy(int)
    function, higher = COHORT[name]
    return Measured(
        task,
        name,
        higher,
        tuple(table["case"]),
        tuple(table["group"]),
        lambda weights: np.atleast_1d(function(probabilities, labels, weights=weights)),
        None,
    )


def _casewise(folder: Path, task: str, name: str) -> Measured:
    metric, higher = CASEWISE[name]
    rows = pd.read_csv(folder / "metrics.csv", dtype={"case": str}, keep_default_na=False, na_values=[""])
    rows = rows[rows["task"] == task].dropna(subset="value")
    rows = rows[rows["structure"].notna()] if metric is None else rows[rows["metric"] == metric]
    if rows.empty:
        raise DataError(f"{folder}: {name} of {task} was not measured in any case.")
    by_case = rows.groupby("case")["value"]
    sums, counts = by_case.sum(), by_case.count()
    means = (sums / counts).to_numpy()
    if metric is None:
        above, below = sums.to_numpy(), counts.to_numpy(float)
    else:
        above, below = means, np.ones(len(means))
    cases = tuple(sums.index)
    groups = _groups(folder)
    return Measured(
        task,
        name,
        higher,
        cases,
        tuple(groups.get(case, case) for case in cases),
        lambda weights: (weights @ above) / (weights @ below),
        means,
    )


def _groups(folder: Path) -> dict[str, str]:
    """Group of each case, where the evaluation knows groups; elsewhere a case is its own."""
    # Evaluations of earlier versions have no cases.csv, and know groups only beside class probabilities.
    file = next((folder / name for name in ("cases.csv", "predictions.csv") if (folder / name).is_file()), None)
    if file is None:
        return {}
    table = pd.read_csv(file, dtype=str, usecols=["case", "group"], keep_default_na=False)
    return dict(zip(table["case"], table["group"], strict=True))
