# SPDX-License-Identifier: Apache-2.0
"""The numbers of a report: one row a case, task, structure and metric, and scores with intervals made of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ctan_networks.metrics.bootstrap import bootstrap_interval

__all__ = ["Results", "Row", "Score", "capital", "strict", "to_frame", "wide_table"]


class Row(NamedTuple):
    """One number. NaN: unknown or not defined.

    Attributes:
        case: name of the case.
        task: name of the task; ``plan``, ``goal`` and ``gamma`` for what was asked of a plan.
        structure: empty for a number of the whole case.
        metric: such as ``dice``, ``mae``, ``dose_score``, a DVH metric, a goal as it is worded.
        value: of the metric; \\|reference - predicted\\| where those two are given.
        reference: the metric of the reference; NaN where there is no such thing.
        predicted: the metric of the prediction.
    """

    case: str
    task: str
    structure: str
    metric: str
    value: float
    reference: float = float("nan")
    predicted: float = float("nan")


@dataclass(frozen=True)
class Score:
    """One score of an evaluation.

    Attributes:
        name: key in ``summary.json``, such as ``dose_score`` or ``diagnosis_roc_auc``.
        title: name on the page.
        unit: empty for a number without.
        higher_is_better: its direction.
        value: NaN where it is not defined.
        low: lower bound of the bootstrap 95 % interval; NaN where there is none.
        high: upper bound.
        undefined: share of the resamples in which the score is not defined.
        n: number of cases.
        groups: number of patients or lesions that the cases are of.
        cases: value of each case, by name; None for a score of the whole cohort.
    """

    name: str
    title: str
    unit: str
    higher_is_better: bool
    value: float
    low: float
    high: float
    undefined: float
    n: int
    groups: int
    cases: pd.Series | None = None

    def entry(self) -> dict[str, Any]:
        """The entry of ``summary.json``; a score of single cases adds their ``mean``, ``median`` and ``worst``."""
        entry = {key: value for key, value in vars(self).items() if key != "cases"}
        if self.cases is not None:
            worst = str(self.cases.idxmin() if self.higher_is_better else self.cases.idxmax())
            entry |= {"mean": float(self.cases.mean()), "median": float(self.cases.median())}
            entry |= {"worst": float(self.cases[worst]), "worst_case": worst}
        return entry

    def __str__(self) -> str:
        text = f"{self.title} {self.value:.3f} {self.unit}".strip()
        return text if math.isnan(self.low) else f"{text} ({self.low:.3f} to {self.high:.3f})"


class Results:
    """All cases of an evaluation, to compute scores of.

    Args:
        cases: the scored cases, :py:class:`ctan_networks.reports.section.Case`.
        resamples: of each bootstrap.

    Attributes:
        cases: as given.
        rows: the rows of all cases, a table with the columns of :py:class:`Row`.
    """

    def __init__(self, cases: Sequence[Any], resamples: int = 2000) -> None:
        self.cases = list(cases)
        self.rows = to_frame(row for case in cases for row in case.rows)
        self.resamples = resamples
        grouped = any(case.group is not None for case in cases)
        self.members = {c.name: (c.group or c.name) if grouped else k for k, c in enumerate(cases)}

    def of(self, task: str, *metrics: str) -> pd.DataFrame:
        """The rows of a task, or of some of its metrics, that have a value."""
        chosen = self.rows["task"] == task
        if metrics:
            chosen &= self.rows["metric"].isin(metrics)
        return self.rows[chosen].dropna(subset="value")

    def score(
        self,
        name: str,
        title: str,
        statistic: Callable[[np.ndarray], Any],
        cases: Sequence[str],
        unit: str = "",
        higher_is_better: bool = True,
        values: pd.Series | None = None,
    ) -> Score:
        """A score and its interval by a bootstrap over groups.

        Args:
            name: as :py:class:`Score` has it.
            title: the same.
            statistic: from weights ``[R, N]`` (how often each case is drawn) to R values.
            cases: names of the N cases.
            unit: as :py:class:`Score` has it.
            higher_is_better: the same.
            values: of each case.
        """
        members = np.array([self.members[case] for case in cases])
        with np.errstate(invalid="ignore"):
            value = float(statistic(np.ones((1, len(cases))))[0])
            interval = bootstrap_interval(statistic, members, self.resamples)
        groups = len(set(members.tolist()))
        return Score(name, title, unit, higher_is_better, value, *interval, len(cases), groups, values)

    def mean(
        self,
        name: str,
        title: str,
        rows: pd.DataFrame,
        unit: str = "",
        higher_is_better: bool = True,
        flat: bool = False,
    ) -> Score:
        """A mean over cases of each one's mean over its rows, or with ``flat`` one mean over all rows."""
        by_case = rows.dropna(subset="value").groupby("case", sort=False)["value"]
        values = by_case.mean()
        sums, counts = (by_case.sum(), by_case.count()) if flat else (values, pd.Series(1.0, values.index))
        above, below = sums.to_numpy(float), counts.to_numpy(float)
        return self.score(
            name,
            title,
            lambda weights: (weights @ above) / (weights @ below),
            list(values.index),
            unit,
            higher_is_better,
            values if len(values) else None,
        )


def to_frame(rows: Iterable[Row]) -> pd.DataFrame:
    """The rows as a table with the columns of :py:class:`Row`."""
    return pd.DataFrame(list(rows), columns=list(Row._fields))


def wide_table(cases: Sequence[Any]) -> pd.DataFrame:
    """One row a case: ``case``, ``group`` and the value of each task, structure and metric."""
    columns: dict[str, dict[str, float]] = {}
    for row in (row for case in cases for row in case.rows):
        name = "_".join(part.replace(" ", "_") for part in (row.task, row.structure, row.metric) if part)
        columns.setdefault(name, {})[row.case] = row.value
    names = [case.name for case in cases]
    table = {name: [values.get(case, np.nan) for case in names] for name, values in columns.items()}
    return pd.DataFrame({"case": names, "group": [case.group or case.name for case in cases], **table})


def strict(value: Any) -> Any:
    """Containers of plain values in which what JSON cannot hold (NaN, infinity) is None."""
    if isinstance(value, dict):
        return {str(k): strict(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [strict(v) for v in value]
    if isinstance(value, np.generic):
        return strict(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def capital(task: str) -> str:
    """Name of a task as a heading has it."""
    name = task.replace("_", " ")
    return name[:1].upper() + name[1:]
