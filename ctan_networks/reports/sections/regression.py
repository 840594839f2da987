# SPDX-License-Identifier: Apache-2.0
"""Section of a regression task: the error of a map of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ctan_networks.metrics.map_error import compute_map_error
from ctan_networks.reports.scores import Results, Row, Score, capital
from ctan_networks.reports.section import Case, Section
from ctan_networks.reports.slices import Panel, map_panels

__all__ = ["RegressionSection"]


class RegressionSection(Section):
    """Mean absolute error of a map.

    Reads ``predicted_<task>`` and ``reference_<task>``, ``[C, *spatial]``; NaN is unknown. Pictures show its first
    channel.

    Args:
        task: name of the task.
        unit: of the map.
        evaluated: handler of the evaluator's :py:class:`ctan_networks.metrics.MapError` of this task: what it has just
            computed is not computed again.
        prefix: what the names of the scores begin with; default: the task and ``_``.
    """

    kind = "regression"
    criteria: tuple[str, ...] = ("highest error", "lowest error")

    def __init__(self, task: str, unit: str = "", evaluated: Any = None, prefix: str | None = None) -> None:
        super().__init__(task, prefix)
        self.unit = unit
        self.evaluated = evaluated

    def score(self, case: Case) -> bool:
        """Add ``mae``."""
        predicted, reference = case.pair(self.task)
        if reference is None:
            return False
        latest = case.latest(self.evaluated)
        error = compute_map_error(predicted[None], reference[None]) if latest is None else latest
        case.rows.append(Row(case.name, self.task, "", "mae", float(error)))
        return True

    def scores(self, results: Results) -> list[Score]:
        """Mean over cases of the mean absolute error."""
        rows = results.of(self.task, "mae")
        title = f"{capital(self.task)}: mean absolute error"
        return [results.mean(f"{self.prefix}mae", title, rows, self.unit, higher_is_better=False)]

    def notes(self) -> list[str]:
        return ["Mean absolute error: mean over the cases with a reference, of each one's mean over its known voxels."]

    def extremes(self, case: Case) -> list[tuple[str, float, str]]:
        errors = [row.value for row in case.rows if (row.task, row.metric) == (self.task, "mae")]
        return [(c, s * e, f" ({e:.3f})") for e in errors for c, s in zip(self.criteria, (1, -1), strict=True)]

    def focus(self, case: Case) -> np.ndarray | None:
        volume = case.volumes.get(f"reference_{self.task}", case.volumes.get(f"predicted_{self.task}"))
        if volume is None:
            return None
        values = volume[0].numpy()
        return values >= 0.95 * np.nanmax(values)

    def panels(self, case: Case, kept: Mapping[str, np.ndarray]) -> list[Panel]:
        return map_panels(kept, self.task, self.unit)
