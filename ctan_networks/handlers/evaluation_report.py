# SPDX-License-Identifier: Apache-2.0
"""The result of an evaluation as a radiotherapy physicist reads it: numbers as CSV and JSON, and one HTML page."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from ignite import distributed as idist
from ignite.engine import Engine, Events

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.reports.cases import read_case
from ctan_networks.reports.figures import draw_dvh, draw_history, draw_slices, to_uri
from ctan_networks.reports.html import render_page
from ctan_networks.reports.summary import (
    SCORES,
    chosen_cases,
    dice_by_structure,
    dvh_by_structure,
    patient_scores,
    score_table,
    strict,
)
from ctan_networks.reports.tables import Row, case_rows, to_frame, write_rows
from ctan_networks.reports.views import CaseView, make_view
from ctan_networks.utils import atomic_path

__all__ = ["EvaluationReport"]

logger = logging.getLogger(__name__)


class EvaluationReport:
    """Score every case of an evaluation and write ``metrics.csv``, ``summary.json`` and ``report.html``.

    After each iteration it reads ``engine.state.output`` and, for what is not there, ``engine.state.batch``: lists of
    one dictionary a case, all volumes on one grid:

    ===========================  ========================================================================
    ``case``                     name of the case
    ``image``                    original CT in HU, MetaTensor ``[1, i, j, k]`` whose affine gives the geometry
    ``reference_segmentation``   ``[S, i, j, k]`` 0/1, a channel of NaN where a structure is unknown
    ``predicted_segmentation``   ``[S, i, j, k]`` 0/1
    ``reference_dose``           ``[1, i, j, k]`` Gy; NaN where unknown
    ``predicted_dose``           ``[1, i, j, k]`` Gy
    ``mask``, ``reference_mask`` ``[1, i, j, k]`` 1 where dose is possible (either name)
    ===========================  ========================================================================

    Predictions of the active tasks must be there; references and ``mask`` may be absent, but a case without any
    reference is refused. DVH metrics are of the reference structures. The predicted dose is set to zero outside
    ``mask``, or outside the body found in the CT where there is none. ``metrics.csv`` is written anew after each
    iteration, so that a run that is cut off leaves what was scored. Of each case only three slices are kept, on disk,
    until it is known which are to be drawn.

    Args:
        output_dir: folder for the three files; made if need be.
        tasks: names of the active tasks: ``segmentation``, ``dose`` or both.
        structures: names of the channels of the segmentations.
        details: what was evaluated and how (architecture, checkpoint, recipe, split, versions, command ...); shown
            and written as it is.
        phantom: whether the cases are phantoms; page, summary and log then say so.
        max_figures: greatest number of cases with figures.
        title: heading of the page.
        history: CSV (epoch, name, value) that training wrote, for learning curves; left out when it is not there.
        image_key: key of the CT in HU, where ``image`` is not it.

    Raises:
        ConfigError: when a task is unknown or evaluation runs in several processes.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike,
        tasks: Sequence[str],
        structures: Sequence[str],
        details: Mapping[str, Any] | None = None,
        phantom: bool = False,
        max_figures: int = 6,
        title: str = "Evaluation of segmentation and dose",
        history: str | os.PathLike | None = None,
        image_key: str = "image",
    ) -> None:
        unknown = sorted(set(tasks) - {"segmentation", "dose"})
        if unknown or not tasks:
            raise ConfigError(f"EvaluationReport: tasks must be 'segmentation', 'dose' or both, not {list(tasks)}.")
        self.output_dir = Path(output_dir)
        self.tasks = list(tasks)
        self.structures = list(structures)
        self.details = dict(details or {})
        self.phantom = phantom
        self.max_figures = max_figures
        self.title = title
        self.history = Path(history) if history is not None else None
        self.image_key = image_key
        self.rows: list[Row] = []
        self.views: dict[str, Path] = {}
        self.without_mask = 0
        self.folder: tempfile.TemporaryDirectory | None = None

    def attach(self, engine: Engine) -> None:
        """Score each iteration of ``engine`` and write the report when it completes."""
        if idist.get_world_size() > 1:
            raise ConfigError("EvaluationReport: cases of several processes are not gathered; evaluate in one process.")
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.score)
        engine.add_event_handler(Events.COMPLETED, self.finish)

    def start(self, engine: Engine) -> None:
        """Forget an earlier run of the same engine."""
        self.rows, self.views, self.without_mask = [], {}, 0
        if self.folder is not None:
            self.folder.cleanup()
        self.folder = tempfile.TemporaryDirectory(prefix="evaluation_report_")

    def score(self, engine: Engine) -> None:
        """Score the cases of one iteration and write the numbers so far."""
        # MONAI keeps what the postprocessing made in the output and what the data list gave (name, CT) in the batch.
        batch: Any = engine.state.batch
        output: Any = engine.state.output
        items = batch if isinstance(batch, list) and len(batch) == len(output) else [{}] * len(output)
        for given, made in zip(items, output, strict=True):
            self._score_case({**given, **made} if isinstance(given, Mapping) else made)
        write_rows(self.output_dir / "metrics.csv", self.rows)
        # Those of an earlier run in the same folder would now contradict metrics.csv.
        for name in ("summary.json", "report.html"):
            (self.output_dir / name).unlink(missing_ok=True)

    def finish(self, engine: Engine) -> None:
        """Write the summary, then the page."""
        if not self.rows:
            raise DataError("EvaluationReport: no case was evaluated; check the data list of the evaluation.")
        rows = to_frame(self.rows)
        summary = {
            "title": self.title,
            "phantom": self.phantom,
            "notice": "PHANTOM RESULT: says nothing about patients" if self.phantom else "Research use only",
            "tasks": self.tasks,
            "structures": self.structures,
            "cases": len(self.views),
            "cases_without_dose_mask": self.without_mask,
            "details": self.details,
            "scores": score_table(rows),
            "dice": dice_by_structure(rows),
            "dvh": dvh_by_structure(rows),
        }
        with atomic_path(self.output_dir / "summary.json") as path:
            path.write_text(json.dumps(strict(summary), indent=2, allow_nan=False) + "\n", encoding="utf-8")
        patients = patient_scores(rows).reset_index().to_dict("records")
        figures = [self._figures(case, what, rows) for case, what in chosen_cases(rows, self.max_figures)]
        page = render_page({**summary, "patients": patients, "figures": figures, "history": self._history()})
        report = self.output_dir / "report.html"
        with atomic_path(report) as path:
            path.write_text(page, encoding="utf-8")
        if self.folder is not None:
            self.folder.cleanup()
        scores = "; ".join(f"{s['title']} {_interval(s)}" for s in score_table(rows))
        label = "PHANTOM RESULT, says nothing about patients: " if self.phantom else ""
        logger.info("%s%d cases: %s. Report: %s", label, len(self.views), scores or "no score", report)

    def _score_case(self, item: Mapping[str, Any]) -> None:
        case = read_case(item, self.tasks, self.structures, self.image_key)
        if case.name in self.views:
            raise DataError(f"{case.name}: evaluated twice; remove one of them from the evaluation's data list.")
        assert self.folder is not None, "score() before start()"
        self.rows += case_rows(case, self.tasks, self.structures)
        self.without_mask += "dose" in self.tasks and not case.given_mask
        drawn = {key: volume.numpy() for key, volume in case.volumes.items() if key != "mask"}
        path = Path(self.folder.name) / f"{len(self.views)}.npz"
        make_view(drawn, case.affine, self.structures).save(path)
        self.views[case.name] = path

    def _figures(self, case: str, what: str, rows: pd.DataFrame) -> dict[str, Any]:
        view = CaseView.load(self.views[case])
        own = rows[rows["case"] == case]
        scores = patient_scores(own).loc[case].dropna()
        return {
            "case": case,
            "what": what,
            "scores": [f"{SCORES[name][0]} {value:.3f} {SCORES[name][1]}".strip() for name, value in scores.items()],
            "slices": to_uri(draw_slices(view, self.structures)),
            "dvh": to_uri(draw_dvh(view, self.structures)) if len(view.curves) == 2 else None,
            "dose": own[(own["task"] == "dose") & (own["structure"] != "")].dropna(subset="value").to_dict("records"),
            "dice": own[own["metric"] == "dice"].dropna(subset="value").to_dict("records"),
        }

    def _history(self) -> str | None:
        if self.history is None or not self.history.is_file():
            return None
        figure = draw_history(self.history)
        return to_uri(figure) if figure is not None else None


def _interval(score: Mapping[str, Any]) -> str:
    text = f"{score['value']:.3f} {score['unit']}".strip()
    return text + (f" ({score['low']:.3f} to {score['high']:.3f})" if score["patients"] > 1 else "")
