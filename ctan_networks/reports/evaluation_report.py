# SPDX-License-Identifier: Apache-2.0
"""The result of an evaluation as a radiotherapy physicist reads it: numbers as CSV and JSON, and one HTML page."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from ignite.engine import Engine

from ctan_networks.errors import ConfigError
from ctan_networks.processes import gather_in_turn
from ctan_networks.reports.cases import read_case
from ctan_networks.reports.figures import draw_dvh, draw_slices, to_uri
from ctan_networks.reports.plan import PlanQuestions, plan_rows, read_prescription
from ctan_networks.reports.plan_summary import plan_summary
from ctan_networks.reports.report import Report
from ctan_networks.reports.summary import (
    SCORES,
    chosen_cases,
    dice_by_structure,
    dvh_by_structure,
    patient_scores,
    score_table,
)
from ctan_networks.reports.tables import Row, case_rows, to_frame, write_rows
from ctan_networks.reports.views import CaseView, make_view

__all__ = ["EvaluationReport"]


class EvaluationReport(Report):
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
    ``prescription``             Gy, of the case; may be absent
    ===========================  ========================================================================

    Predictions of the active tasks must be there; references and ``mask`` may be absent, but a case without any
    reference is refused. DVH metrics are of the reference structures. The predicted dose is set to zero outside
    ``mask``, or outside the body found in the CT where there is none. Of each case only three slices are kept, on disk,
    until it is known which are to be drawn. The rest is as :py:class:`ctan_networks.reports.report.Report` does it.

    What a planner asks of both doses comes on top where it is asked for, and ``dose`` is among the tasks: see
    ``plan_metrics``, ``goals`` and ``gamma``. All of it is in the reference structures.

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
        plan_metrics: give mean dose, D_2 and D_98 of each structure, and of targets (PTV...) the homogeneity index and,
            where the prescription is known, Paddick's conformity index at 95 % of it.
        goals: goals of the plan, as :py:func:`ctan_networks.radiotherapy.metrics.plan_goals.parse_goals` reads them;
        the report
            tells which of them the reference and the predicted dose meet.
        prescription_key: key of the prescribed dose of a case in Gy.
        prescription: in Gy, of cases that have none of their own.
        gamma: settings of :py:func:`ctan_networks.radiotherapy.metrics.gamma.gamma_pass_rate`, ``{}`` for the usual
        ones;
            ``{"normalisation": "prescription"}`` takes each case's own. None: not computed.
        given: structures whose contours the network was given: there is no Dice of them.

    Raises:
        ConfigError: when a task or structure is unknown, a goal or setting cannot be read, or pymedphys, which gamma
            needs, is not installed.
    """

    template = "evaluation.html"

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
        plan_metrics: bool = False,
        goals: Sequence[Mapping[str, Any]] | None = None,
        prescription_key: str = "prescription",
        prescription: float | None = None,
        gamma: Mapping[str, Any] | None = None,
        given: Sequence[str] = (),
    ) -> None:
        unknown = sorted(set(tasks) - {"segmentation", "dose"})
        if unknown or not tasks:
            raise ConfigError(f"EvaluationReport: tasks must be 'segmentation', 'dose' or both, not {list(tasks)}.")
        super().__init__(output_dir, title, details, phantom, history)
        self.tasks = list(tasks)
        self.structures = list(structures)
        self.given = list(given)
        self.max_figures = max_figures
        self.image_key = image_key
        self.questions: PlanQuestions | None = None
        if "dose" in self.tasks and (plan_metrics or goals or gamma is not None):
            self.questions = PlanQuestions.read(plan_metrics, goals, gamma, self.structures)
        self.prescription_key = prescription_key
        self.prescription = prescription
        self.rows: list[Row] = []
        self.views: dict[str, Path] = {}
        self.without_mask = 0

    def start(self, engine: Engine) -> None:
        """Forget an earlier run of the same engine."""
        super().start(engine)
        self.rows, self.views, self.without_mask = [], {}, 0

    def score_case(self, item: Mapping[str, Any]) -> None:
        """Score one case and keep what may be drawn of it."""
        case = read_case(item, self.tasks, self.structures, self.image_key)
        self.register(case.name)
        self.rows += case_rows(case, self.tasks, self.structures, self.given)
        if self.questions is not None:
            prescription = read_prescription(item, self.prescription_key, self.prescription)
            self.rows += plan_rows(case, self.structures, self.questions, prescription)
        self.without_mask += "dose" in self.tasks and not case.given_mask
        drawn = {key: volume.numpy() for key, volume in case.volumes.items() if key != "mask"}
        path = self.scratch(f"{len(self.views)}.npz")
        make_view(drawn, case.affine, self.structures).save(path)
        self.views[case.name] = path

    def gather(self) -> None:
        """Bring together the numbers of all processes, and the pictures of the cases that are drawn."""
        own: dict[str, list[Row]] = {name: [] for name in self.names}
        for row in self.rows:
            own[row.case].append(row)
        super().gather()
        self.rows = [row for rows in gather_in_turn(list(own.values())) for row in rows]
        self.without_mask = sum(gather_in_turn([self.without_mask]))
        drawn = {case for case, _ in chosen_cases(to_frame(self.rows), self.max_figures)}
        self.views = self.gather_files({name: path for name, path in self.views.items() if name in drawn})

    def write_numbers(self) -> None:
        """Write ``metrics.csv``."""
        write_rows(self.output_dir / "metrics.csv", self.rows)

    def summarise(self) -> dict[str, Any]:
        """Scores of all patients and of each structure."""
        rows = to_frame(self.rows)
        return {
            "tasks": self.tasks,
            "structures": self.structures,
            "cases": len(self.names),
            "cases_without_dose_mask": self.without_mask,
            "scores": score_table(rows),
            "dice": dice_by_structure(rows),
            "dvh": dvh_by_structure(rows),
            **({} if self.questions is None else plan_summary(rows, self.questions)),
        }

    def illustrate(self) -> dict[str, Any]:
        """Figures of some patients and the scores of each."""
        rows = to_frame(self.rows)
        return {
            "patients": patient_scores(rows).reset_index().to_dict("records"),
            "figures": [self._figures(case, what, rows) for case, what in chosen_cases(rows, self.max_figures)],
        }

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
