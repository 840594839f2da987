# SPDX-License-Identifier: Apache-2.0
"""The result of an evaluation of any tasks: numbers of each case, scores with intervals, one page."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from ignite.engine import Engine

from ctan_networks.errors import ConfigError
from ctan_networks.metrics.classification import UNKNOWN
from ctan_networks.metrics.map_error import compute_map_error
from ctan_networks.metrics.structure_dice import compute_structure_dice
from ctan_networks.processes import gather_in_turn
from ctan_networks.reports.classification_cases import ClassifiedCase, case_metrics, read_classified
from ctan_networks.reports.classification_figures import draw_confusion
from ctan_networks.reports.classification_tables import describe_task, predictions_frame
from ctan_networks.reports.figures import to_uri
from ctan_networks.reports.report import Report
from ctan_networks.reports.tables import Row, write_rows
from ctan_networks.reports.task_scores import structure_table, task_scores, wide_table
from ctan_networks.utils import atomic_path

__all__ = ["TaskReport"]


class TaskReport(Report):
    """Score every case of an evaluation and write ``cases.csv``, ``metrics.csv``, ``summary.json``, ``report.html``
    and, with classifications, ``predictions.csv``.

    After each iteration it reads ``engine.state.output`` and, for what is not there, ``engine.state.batch``: lists of
    one dictionary a case with ``case``, perhaps ``group``, and for each task ``predicted_<task>`` and
    ``reference_<task>``:

    ==============  =============================================================================================
    segmentation    masks ``[S, *spatial]`` of 0 and 1; a channel with NaN is unknown
    regression      maps ``[C, *spatial]``; NaN is unknown
    classification  probabilities ``[C]``; number of the class, -1 where unknown
    ==============  =============================================================================================

    ``metrics.csv`` has one row a case, task, structure and metric (``dice``, ``mae``; ``correct``, ``confidence``,
    ``probability``), ``cases.csv`` the same with one row a case. Intervals are of a bootstrap over groups. The rest is
    as :py:class:`ctan_networks.reports.report.Report` does it.

    Args:
        output_dir: folder for the files; made if need be.
        tasks: the network's task list.
        structures: segmentation task to the names of its structures.
        classes: classification task to the names of its classes.
        details: what was evaluated and how; shown and written as it is.
        phantom: whether the cases are phantoms; page, summary and log then say so.
        title: heading of the page.
        history: CSV (epoch, name, value) that training wrote, for learning curves; left out when it is not there.
        unit: what a group is, in the singular.

    Raises:
        ConfigError: when there is no task, or names of structures or classes are not as many as its channels.
    """

    template = "tasks.html"

    def __init__(
        self,
        output_dir: str | os.PathLike,
        tasks: Mapping[str, Mapping[str, Any]],
        structures: Mapping[str, Sequence[str]] | None = None,
        classes: Mapping[str, Sequence[str]] | None = None,
        details: Mapping[str, Any] | None = None,
        phantom: bool = False,
        title: str = "Evaluation",
        history: str | os.PathLike | None = None,
        unit: str = "patient",
    ) -> None:
        super().__init__(output_dir, title, details, phantom, history)
        self.tasks = {name: dict(spec) for name, spec in tasks.items()}
        self.unit = unit
        names = {**(structures or {}), **(classes or {})}
        for task, spec in self.tasks.items():
            if spec["kind"] != "regression" and len(names.get(task, ())) != spec["out_channels"]:
                raise ConfigError(
                    f"TaskReport: {task} has {spec['out_channels']} channels and as many names must be given."
                )
        if not self.tasks:
            raise ConfigError("TaskReport: no task is given.")
        self.structures = {t: list(names[t]) for t, s in self.tasks.items() if s["kind"] == "segmentation"}
        self.classes = {t: list(names[t]) for t, s in self.tasks.items() if s["kind"] == "classification"}
        self.groups: list[str] = []
        self.rows: list[list[Row]] = []
        self.classified: list[ClassifiedCase] = []

    def start(self, engine: Engine) -> None:
        """Forget an earlier run of the same engine."""
        super().start(engine)
        self.groups, self.rows, self.classified = [], [], []

    def score_case(self, item: Mapping[str, Any]) -> None:
        """Score one case."""
        name = str(item["case"])
        self.register(name)
        rows = []
        for task, spec in self.tasks.items():
            if spec["kind"] != "classification":
                rows += self._dense_rows(name, task, spec["kind"], item)
        if self.classes:
            # A case of which only other tasks are known is none that has nothing.
            labelled = any(int(torch.as_tensor(item[f"reference_{task}"])) != UNKNOWN for task in self.classes)
            case = _classified(item, self.classes) if labelled else None
            if case is not None:
                rows += case_metrics(case, None)
                self.classified.append(case)
        self.rows.append(rows)
        self.groups.append(str(item.get("group") or name))

    def _dense_rows(self, name: str, task: str, kind: str, item: Mapping[str, Any]) -> list[Row]:
        predicted, reference = (
            torch.as_tensor(item[f"{what}_{task}"]).cpu()[None] for what in ("predicted", "reference")
        )
        if kind == "regression":
            return [Row(name, task, "", "mae", float(compute_map_error(predicted, reference)))]
        dice = compute_structure_dice(predicted, reference)[0].tolist()
        return [Row(name, task, s, "dice", d) for s, d in zip(self.structures[task], dice, strict=True)]

    def gather(self) -> None:
        """Bring together the numbers of all processes."""
        super().gather()
        self.rows = gather_in_turn(self.rows)
        self.groups = gather_in_turn(self.groups)
        known = {case.name: case for case in gather_in_turn(self.classified)}
        self.classified = [known[name] for name in self.names if name in known]

    def write_numbers(self) -> None:
        """Write ``metrics.csv``, ``cases.csv`` and ``predictions.csv``."""
        rows = [row for own in self.rows for row in own]
        write_rows(self.output_dir / "metrics.csv", rows)
        tables = {"cases.csv": wide_table(list(self.names), self.groups, rows)}
        if self.classes:
            # Names of classes may be numbers: as text they stay what they are.
            tables["predictions.csv"] = predictions_frame(self.classified, self.classes, None)
        for file, table in tables.items():
            with atomic_path(self.output_dir / file) as path:
                table.to_csv(path, index=False)

    def summarise(self) -> dict[str, Any]:
        """Scores of all cases, and of each structure and class."""
        rows = [row for own in self.rows for row in own]
        groups = dict(zip(self.names, self.groups, strict=True))
        scores = task_scores(self.tasks, rows, groups, self.classified, self.classes)
        return {
            "tasks": list(self.tasks),
            "unit": self.unit,
            "cases": len(self.names),
            "groups": len(set(self.groups)),
            "scores": [score for score in scores if np.isfinite(score["value"])],
            "not_defined": [score["title"] for score in scores if not np.isfinite(score["value"])],
            "structures": structure_table(rows),
            "classification": {t: describe_task(self.classified, t, n) for t, n in self.classes.items()}
            if self.classified
            else {},
        }

    def illustrate(self) -> dict[str, Any]:
        """The confusion matrix of each classification, and the table of the cases."""
        rows = [row for own in self.rows for row in own]
        figures = {}
        for task, names in self.classes.items():
            described = describe_task(self.classified, task, names) if self.classified else {"n": 0}
            if described["n"]:
                figures[task] = to_uri(draw_confusion(np.array(described["confusion"]), names))
        table = wide_table(list(self.names), self.groups, rows)
        numbers = [name for name in table if name not in ("case", "group")]
        return {
            "figures": figures,
            "columns": numbers,
            "table": [
                {"case": row["case"], "values": [None if pd.isna(row[c]) else float(row[c]) for c in numbers]}
                for row in table.to_dict("records")
            ],
        }


def _classified(item: Mapping[str, Any], classes: Mapping[str, Sequence[str]]) -> ClassifiedCase:
    return read_classified(item, classes, None, "group")
