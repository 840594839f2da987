# SPDX-License-Identifier: Apache-2.0
"""The result of an evaluation of image-level classes, with or without a mask beside them, for its reader."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from torch import nn

from ctan_networks.errors import ConfigError
from ctan_networks.metrics.classification import UNKNOWN
from ctan_networks.processes import gather_in_turn
from ctan_networks.reports.classification_cases import ClassifiedCase, case_metrics, read_classified
from ctan_networks.reports.classification_figures import draw_confusion, draw_reliability, draw_roc
from ctan_networks.reports.classification_gallery import Choice, Gallery
from ctan_networks.reports.classification_pictures import draw_photo, draw_volume, keep_display, load_display
from ctan_networks.reports.classification_tables import (
    capital,
    class_scores,
    describe_task,
    known_only_where,
    predictions_frame,
    roc_curves,
)
from ctan_networks.reports.figures import to_uri
from ctan_networks.reports.report import Report
from ctan_networks.reports.saliency import grad_cam
from ctan_networks.reports.tables import Row, write_rows
from ctan_networks.utils import atomic_path

__all__ = ["ClassificationReport"]


class ClassificationReport(Report):
    """Score every case of an evaluation and write ``predictions.csv``, ``metrics.csv``, ``summary.json`` and
    ``report.html``.

    After each iteration it reads ``engine.state.output`` and, for what is not there, ``engine.state.batch``: lists of
    one dictionary a case:

    ==============================  =====================================================================
    ``case``                        name of the case
    ``group``                       patient or lesion; a case without one is its own
    ``predicted_<task>``            probabilities ``[C]`` of a classification; mask ``[1, *spatial]`` 0/1
    ``reference_<task>``            class number, -1 where unknown; mask 0/1, NaN where unknown
    ``image_key``                   photograph ``[3, W, H]``, 0 to 255, whose first spatial axis is x; or
                                    volume ``[1, i, j, k]``, a MetaTensor where its axes are to be named
    ``image``                       the network's input, for Grad-CAM
    ==============================  =====================================================================

    Predictions of all tasks must be there; references may be absent, but a case without any is refused. Intervals are
    of a bootstrap over groups. Pictures are drawn of the cases with the lowest and highest Dice and of the most
    confidently wrong and right answers; only what may still be drawn is kept, on disk. The rest is as
    :py:class:`ctan_networks.reports.report.Report` does it.

    Args:
        output_dir: folder for the four files; made if need be.
        classes: classification task to the names of its classes; of two, the second is the positive one.
        segmentation: name of the segmentation task, if there is one.
        details: what was evaluated and how (architecture, checkpoint, recipe, split, versions, command ...); shown
            and written as it is.
        phantom: whether the cases are phantoms; page, summary and log then say so.
        max_figures: greatest number of cases with pictures.
        title: heading of the page.
        history: CSV (epoch, name, value) that training wrote, for learning curves; left out when it is not there.
        image_key: key of the picture.
        group_key: key of the group.
        unit: what a group is, in the singular: "patient", "lesion".
        network: gives ``{task: logits}``, for Grad-CAM over the network's input; None: no Grad-CAM.

    Raises:
        ConfigError: when there is no task or one has fewer than two classes.
    """

    template = "classification.html"

    def __init__(
        self,
        output_dir: str | os.PathLike,
        classes: Mapping[str, Sequence[str]],
        segmentation: str | None = None,
        details: Mapping[str, Any] | None = None,
        phantom: bool = False,
        max_figures: int = 8,
        title: str = "Evaluation of classification",
        history: str | os.PathLike | None = None,
        image_key: str = "image",
        group_key: str = "group",
        unit: str = "patient",
        network: nn.Module | None = None,
    ) -> None:
        super().__init__(output_dir, title, details, phantom, history)
        self.classes = {task: [str(name) for name in names] for task, names in classes.items()}
        if not (self.classes or segmentation) or any(len(names) < 2 for names in self.classes.values()):
            raise ConfigError(
                f"ClassificationReport: needs a task, and two classes of each classification; got {self.classes}."
            )
        self.segmentation = segmentation
        self.max_figures = max_figures
        self.image_key = image_key
        self.group_key = group_key
        self.unit = unit
        self.network = network
        self.cases: list[ClassifiedCase] = []
        self.rows: list[Row] = []
        self.gallery = Gallery(self.classes, segmentation, max_figures)
        self.kept: dict[str, Path] = {}

    def start(self, engine: Engine) -> None:
        """Forget an earlier run of the same engine."""
        super().start(engine)
        self.cases, self.rows, self.kept = [], [], {}
        self.gallery = Gallery(self.classes, self.segmentation, self.max_figures)

    def score_case(self, item: Mapping[str, Any]) -> None:
        """Score one case and keep what may be drawn."""
        case = read_classified(item, self.classes, self.segmentation, self.group_key)
        self.register(case.name)
        self.rows += case_metrics(case, self.segmentation)
        self.cases.append(case)
        wanted = self.gallery.offer(case)
        if case.name in wanted:
            path = self.scratch(f"{len(self.cases)}.npz")
            keep_display(path, case.name, item, self.image_key, self.segmentation, self.network is not None)
            self.kept[case.name] = path
        for name in self.kept.keys() - wanted:
            self.kept.pop(name).unlink()

    def gather(self) -> None:
        """Bring together the cases of all processes, and the pictures of those that are drawn."""
        super().gather()
        self.cases = gather_in_turn(self.cases)
        self.rows = [row for case in self.cases for row in case_metrics(case, self.segmentation)]
        self.gallery = Gallery(self.classes, self.segmentation, self.max_figures)
        for case in self.cases:
            self.gallery.offer(case)
        drawn = {choice.case for choice in self.gallery.chosen()}
        # What the gallery of one process has dropped, that of all drops too.
        self.kept = self.gather_files({name: path for name, path in self.kept.items() if name in drawn})

    def write_numbers(self) -> None:
        """Write ``predictions.csv`` and ``metrics.csv``."""
        with atomic_path(self.output_dir / "predictions.csv") as path:
            predictions_frame(self.cases, self.classes, self.segmentation).to_csv(path, index=False)
        write_rows(self.output_dir / "metrics.csv", self.rows)

    def summarise(self) -> dict[str, Any]:
        """Scores of all cases, and of each classification what becomes of each class."""
        scores = class_scores(self.cases, self.classes, self.segmentation)
        labelled = {task: sum(c.labels[task] != UNKNOWN for c in self.cases) for task in self.classes}
        if self.segmentation:
            labelled = {self.segmentation: sum(not np.isnan(c.dice) for c in self.cases), **labelled}
        described = {}
        for task, names in self.classes.items():
            only = known_only_where(self.cases, task, self.classes)
            where = f"{only[0]}: {only[1]}" if only else None
            described[task] = {**describe_task(self.cases, task, names), "known_only_where": where}
        return {
            "tasks": list(labelled),
            "unit": self.unit,
            "cases": len(self.cases),
            "groups": len({case.group for case in self.cases}),
            "cases_without_group": sum(not case.given_group for case in self.cases),
            "labelled": labelled,
            "scores": [score for score in scores if np.isfinite(score["value"])],
            "not_defined": [score["title"] for score in scores if not np.isfinite(score["value"])],
            "classification": described,
        }

    def illustrate(self) -> dict[str, Any]:
        """Figures of each classification, pictures of some cases."""
        figures = {}
        for task, names in self.classes.items():
            described = describe_task(self.cases, task, names)
            if not described["n"]:
                continue
            curves = roc_curves(self.cases, task, names)
            figures[task] = {
                "confusion": to_uri(draw_confusion(np.array(described["confusion"]), names)),
                "roc": to_uri(draw_roc(curves)) if curves else None,
                "reliability": to_uri(draw_reliability(described["reliability"], described["ece"])),
            }
        cases = {case.name: case for case in self.cases}
        pictures = [self._picture(cases[choice.case], choice) for choice in self.gallery.chosen()]
        return {"figures": figures, "pictures": pictures, "saliency": self.network is not None}

    def _picture(self, case: ClassifiedCase, choice: Choice) -> dict[str, Any]:
        kept = load_display(self.kept[case.name])
        maps = {}
        if self.network is not None:
            image = torch.from_numpy(kept["input"].astype(np.float32))[None]
            for task, names in self.classes.items():
                predicted = case.predicted(task)
                maps[f"{capital(task)}: {names[predicted]}"] = grad_cam(self.network, image, task, predicted)
        answers = [
            {
                "task": capital(task),
                "reference": names[case.labels[task]] if case.labels[task] != UNKNOWN else None,
                "classes": [
                    {"name": name, "p": float(p), "true": k == case.labels[task]}
                    for k, (name, p) in enumerate(zip(names, case.probabilities[task], strict=True))
                ],
            }
            for task, names in self.classes.items()
        ]
        return {
            "case": case.name,
            "group": case.group if case.group != case.name else None,
            "why": choice.why,
            "image": to_uri(draw_photo(kept, maps) if "photo" in kept else draw_volume(kept, maps)),
            "wide": "photo" not in kept or bool(maps),
            "volume": "photo" not in kept,
            "dice": None if np.isnan(case.dice) else case.dice,
            "answers": answers,
        }
