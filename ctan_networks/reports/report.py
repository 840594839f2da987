# SPDX-License-Identifier: Apache-2.0
"""The report of an evaluation: numbers as they come, then scores with intervals and one HTML page."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from ignite.engine import Engine, Events

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.handlers.tracking import track_evaluation
from ctan_networks.processes import gather_in_turn, rank, world_size
from ctan_networks.reports.figures import to_uri
from ctan_networks.reports.html import render_page
from ctan_networks.reports.scores import Results, Score, strict, wide_table
from ctan_networks.reports.section import Case, Section
from ctan_networks.reports.sections.cases import Pictures
from ctan_networks.reports.sections.training import draw_history
from ctan_networks.utils import atomic_path

__all__ = ["Report"]

logger = logging.getLogger(__name__)

# Seconds between two writings of the numbers: cases that take longer are each written at once.
WRITE_EVERY = 5.0
# The page shows all cases up to so many, and all their numbers up to so many columns; the files hold the rest.
SHOWN_CASES, SHOWN_COLUMNS = 200, 14


class Report:
    """Score every case of an evaluation; write the numbers, then ``summary.json`` and ``report.html``.

    After each iteration the cases are read from ``engine.state.output`` and, for what is not there, from
    ``engine.state.batch``: lists of one dictionary a case, with ``case`` (its name), perhaps ``group_key`` and
    ``image_key``, and for each task ``predicted_<task>`` and ``reference_<task>`` as its section reads them. A case of
    which no reference is known is refused.

    =================  ===================================================================================
    ``metrics.csv``    one row a case, task, structure and metric
    ``cases.csv``      the same numbers, one row a case
    ``predictions.csv`` the answers of classifications, one row a case; where there are any
    ``summary.json``   scores with bootstrap 95 % intervals over groups, and what each section adds
    ``report.html``    all of it to read, with pictures of some cases
    =================  ===================================================================================

    The tables are written at most every five seconds, and when the run ends, with an error too, so that a run that is
    cut off leaves what was scored. Several processes each score their own cases, and the first writes: at the end those
    of all, in the order of the data list, so that the files are those of one process; in between its own.

    Where MONAI's MLFlowHandler is attached to the same engine, the files become artifacts of the run that it tracks:
    :py:func:`ctan_networks.handlers.tracking.track_evaluation`.

    Args:
        output_dir: folder for the files; made if need be.
        sections: one for each task, of :py:mod:`ctan_networks.reports.sections`.
        tasks: names of the tasks that are evaluated; sections of other tasks are left out. None: those of all sections.
        details: what was evaluated and how (architecture, checkpoint, split ...); shown and written as it is.
        phantom: whether the cases are phantoms; page, summary and log then say so.
        title: heading of the page.
        history: CSV (epoch, name, value) that training wrote, for learning curves; left out when it is not there.
        image_key: key of the picture ``[1 or 3, W, H]``, whose first spatial axis is x, or volume ``[1, i, j, k]`` (a
            MetaTensor where sides are to be named) that pictures show.
        group_key: key of the group.
        unit: what a group is, in the singular: "patient", "lesion".
        max_figures: greatest number of cases with pictures.
        rank_by: names of scores: pictures are of the best, the median and the worst cases by the first one that was
            measured. Empty: of the extremes, by the sections' criteria.
        window: values of the image that pictures show as black and white; None: those of the image.
        resamples: of each bootstrap.

    Raises:
        ConfigError: when a task has no section, or two; or there is no task.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike,
        sections: Sequence[Section],
        tasks: Sequence[str] | None = None,
        details: Mapping[str, Any] | None = None,
        phantom: bool = False,
        title: str = "Evaluation",
        history: str | os.PathLike | None = None,
        image_key: str = "image",
        group_key: str = "group",
        unit: str = "patient",
        max_figures: int = 8,
        rank_by: Sequence[str] = (),
        window: Sequence[float] | None = None,
        resamples: int = 2000,
    ) -> None:
        named = [section.task for section in sections]
        wanted = named if tasks is None else list(tasks)
        if not wanted or any(named.count(task) != 1 for task in wanted):
            raise ConfigError(f"Report: needs one section for each task ({', '.join(wanted)}); got {', '.join(named)}.")
        self.output_dir = Path(output_dir)
        self.sections = [section for section in sections if section.task in wanted]
        self.details = dict(details or {})
        self.phantom = phantom
        self.title = title
        self.history = Path(history) if history is not None else None
        self.image_key = image_key
        self.group_key = group_key
        self.unit = unit
        self.resamples = resamples
        self.pictures = Pictures(self.sections, max_figures, rank_by, window)
        self.cases: dict[str, Case] = {}
        self.written = 0
        self.next_writing = 0.0

    def attach(self, engine: Engine) -> None:
        """Score each iteration of ``engine`` and write the report when it completes."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.score)
        engine.add_event_handler(Events.COMPLETED, self.finish)
        engine.add_event_handler(Events.TERMINATE | Events.EXCEPTION_RAISED, self.stop)

    def start(self, engine: Engine) -> None:
        """Forget an earlier run of the same engine."""
        self.cases, self.written, self.next_writing = {}, 0, 0.0
        self.pictures.start()
        track_evaluation(engine, self.output_dir)

    def score(self, engine: Engine) -> None:
        """Score the cases of one iteration, and write the numbers so far if it is time."""
        # MONAI keeps what the postprocessing made in the output and what the data list gave (name, CT) in the batch.
        batch: Any = engine.state.batch
        output: Any = engine.state.output
        items = batch if isinstance(batch, list) and len(batch) == len(output) else [{}] * len(output)
        for position, (given, made) in enumerate(zip(items, output, strict=True)):
            self.score_case({**given, **made} if isinstance(given, Mapping) else made, position)
        if time.monotonic() >= self.next_writing:
            self._write()

    def score_case(self, item: Mapping[str, Any], position: int = 0) -> None:
        """Score one case and keep what may be drawn of it.

        Args:
            item: its output of the evaluation, with the batch.
            position: its number in the batch.

        Raises:
            DataError: when something is missing or does not fit, nothing is known of the case, or it comes twice.
        """
        name = _text(item.get("case"))
        if not name:
            raise DataError("Report: an output has no key 'case'; keep the name through postprocessing.")
        if name in self.cases:
            raise DataError(f"{name}: evaluated twice; remove one of them from the evaluation's data list.")
        case = Case(name, _text(item.get(self.group_key)) or None, item, self.image_key, position)
        known = [section.score(case) for section in self.sections]
        if not any(known):
            tasks = " or ".join(section.task for section in self.sections)
            raise DataError(f"{name}: no reference for {tasks}; leave it out of the evaluation's data list.")
        self.pictures.offer(case)
        case.item, case.volumes = {}, {}
        self.cases[name] = case

    def finish(self, engine: Engine) -> None:
        """Write the summary, then the page."""
        if world_size() > 1:
            self.cases = _by_name(gather_in_turn(list(self.cases.values())))
        if not self.cases:
            raise DataError("Report: no case was evaluated; check the data list of the evaluation.")
        results = Results(list(self.cases.values()), self.resamples)
        scores = [score for section in self.sections for score in section.scores(results)]
        if world_size() > 1:
            self.pictures.gather(results.cases, scores)
        if rank() == 0:
            self._publish(results, scores)
        self.pictures.close()

    def stop(self, engine: Engine, *args: Any) -> None:
        """Write the numbers of a run that ends early."""
        try:
            self._write()
        finally:
            if args:
                self.pictures.close()
                raise args[0]  # ignite swallows an exception that has a handler

    def _publish(self, results: Results, scores: Sequence[Score]) -> None:
        self._write()
        measured = [score for score in scores if np.isfinite(score.value)]
        labelled = results.rows.dropna(subset="value").groupby("task")["case"].nunique()
        summary: dict[str, Any] = {
            "title": self.title,
            "phantom": self.phantom,
            "notice": "PHANTOM RESULT: says nothing about patients" if self.phantom else "Research use only",
            "details": self.details,
            "tasks": [section.task for section in self.sections],
            "unit": self.unit,
            "cases": len(results.cases),
            "groups": len(set(results.members.values())),
            "cases_without_group": sum(case.group is None for case in results.cases),
            "labelled": {section.task: int(labelled.get(section.task, 0)) for section in self.sections},
            "scores": [score.entry() for score in measured],
            "not_defined": [score.title for score in scores if not np.isfinite(score.value)],
        }
        for section in self.sections:
            for key, value in section.describe(results, self.sections).items():
                summary[key] = _joined(summary[key], value) if key in summary else value
        with atomic_path(self.output_dir / "summary.json") as path:
            path.write_text(json.dumps(strict(summary), indent=2, allow_nan=False) + "\n", encoding="utf-8")
        values = {
            **summary,
            "resamples": self.resamples,
            "notes": list(dict.fromkeys(note for section in self.sections for note in section.notes())),
            "history": self._history(),
            "pictures": self.pictures.draw(results.cases, measured),
            "all_cases": _case_table(results, measured),
        }
        parts = [
            (section.template, {"section": section, "figures": section.illustrate(results, summary)})
            for section in self.sections
        ]
        report = self.output_dir / "report.html"
        with atomic_path(report) as path:
            path.write_text(render_page("report.html", values, parts), encoding="utf-8")
        label = "PHANTOM RESULT, says nothing about patients: " if self.phantom else ""
        text = "; ".join(str(score) for score in measured) or "no score"
        logger.info("%s%d cases: %s. Report: %s", label, len(results.cases), text, report)

    def _write(self) -> None:
        if len(self.cases) == self.written or rank() > 0:
            return
        cases = list(self.cases.values())
        tables = {"metrics.csv": Results(cases).rows, "cases.csv": wide_table(cases)}
        # The answers of classifications first.
        ordered = sorted(self.sections, key=lambda section: section.kind != "classification")
        answers = {name: column for section in ordered for name, column in section.predictions(cases).items()}
        if answers:
            names = {name: list(tables["cases.csv"][name]) for name in ("case", "group")}
            tables["predictions.csv"] = pd.DataFrame({**names, **answers})
        for file, table in tables.items():
            with atomic_path(self.output_dir / file) as path:
                table.to_csv(path, index=False)
        # Those of an earlier run in the same folder would now contradict the numbers.
        for name in ("summary.json", "report.html"):
            (self.output_dir / name).unlink(missing_ok=True)
        self.written = len(cases)
        self.next_writing = time.monotonic() + WRITE_EVERY

    def _history(self) -> str | None:
        if self.history is None or not self.history.is_file():
            return None
        figure = draw_history(self.history)
        return to_uri(figure) if figure is not None else None


def _case_table(results: Results, scores: Sequence[Score]) -> dict[str, Any] | None:
    """Heads and rows of the table of all cases: every number where there are few, else each one's scores."""
    if len(results.cases) > SHOWN_CASES:
        return None
    wide = wide_table(results.cases)
    columns = {name.replace("_", " "): wide[name] for name in wide if name not in ("case", "group")}
    if len(columns) > SHOWN_COLUMNS:
        titles = {score.title + (f" ({score.unit})" if score.unit else ""): score.cases for score in scores}
        columns = {title: values.reindex(wide["case"]) for title, values in titles.items() if values is not None}
    rows = [list(row) for row in zip(wide["case"], *columns.values(), strict=True)]
    return {"head": ["Case", *columns], "rows": rows}


def _by_name(cases: Sequence[Case]) -> dict[str, Case]:
    found: dict[str, Case] = {}
    for case in cases:
        if case.name in found:
            raise DataError(f"{case.name}: evaluated twice; remove one of them from the evaluation's data list.")
        found[case.name] = case
    return found


def _joined(first: Any, second: Any) -> Any:
    """Entries of one name of several sections."""
    return {**first, **second} if isinstance(first, dict) else first + second


def _text(value: Any) -> str:
    if value is None:
        return ""
    return str(value.item() if isinstance(value, torch.Tensor | np.ndarray) and value.ndim == 0 else value).strip()
