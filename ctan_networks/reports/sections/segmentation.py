# SPDX-License-Identifier: Apache-2.0
"""Section of a segmentation task: overlap and volume of each structure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from ctan_networks.errors import ConfigError
from ctan_networks.metrics.structure_dice import compute_structure_dice
from ctan_networks.reports.scores import Results, Row, Score, capital
from ctan_networks.reports.section import Case, Section

__all__ = ["SegmentationSection"]

TITLES = {"dice": "Dice", "jaccard": "Jaccard index"}
METRICS = (*TITLES, "volume_cc")


class SegmentationSection(Section):
    """Dice of each structure, and where asked for its Jaccard index and volume.

    Reads ``predicted_<task>`` and ``reference_<task>``, ``[S, *spatial]`` of 0 and 1; a channel with NaN is unknown.

    Args:
        task: name of the task.
        structures: names of the channels; None: one channel, whose numbers are of the whole case.
        metrics: what to give: ``dice``, ``jaccard``, ``volume_cc`` (of volumes with an affine).
        left_out: structures without numbers, such as those whose contours the network was given.
        evaluated: handler of the evaluator's :py:class:`ctan_networks.metrics.StructureDice` of this task: what it has
            just computed is not computed again.
        prefix: what the names of the scores begin with; default: the task and ``_``.

    Raises:
        ConfigError: when there is no such metric.
    """

    kind = "segmentation"
    criteria = ("lowest Dice", "highest Dice")

    def __init__(
        self,
        task: str,
        structures: Sequence[str] | None = None,
        metrics: Sequence[str] = ("dice",),
        left_out: Collection[str] = (),
        evaluated: Any = None,
        prefix: str | None = None,
    ) -> None:
        super().__init__(task, prefix)
        unknown = [name for name in metrics if name not in METRICS]
        if unknown:
            raise ConfigError(f"{task}: there is no metric {', '.join(unknown)}; there are {', '.join(METRICS)}.")
        self.named = structures is not None
        self.structures = [""] if structures is None else [str(name) for name in structures]
        self.metrics = list(metrics)
        self.left_out = set(left_out)
        self.evaluated = evaluated

    def score(self, case: Case) -> bool:
        """Add ``dice``, ``jaccard`` and ``volume_cc`` of each structure."""
        predicted, reference = case.pair(self.task, len(self.structures))
        if reference is None:
            return False
        latest = case.latest(self.evaluated)
        values = compute_structure_dice(predicted[None], reference[None])[0] if latest is None else latest
        dice = dict(zip(self.structures, values.tolist(), strict=True))
        scored = [name for name in self.structures if name not in self.left_out]
        for metric in self.metrics:
            if metric == "volume_cc":
                volumes = self._volumes(case, predicted, reference)
                case.rows += [Row(case.name, self.task, s, metric, abs(r - p), r, p) for s, r, p in volumes]
            else:
                overlap = {s: dice[s] if metric == "dice" else dice[s] / (2 - dice[s]) for s in scored}
                case.rows += [Row(case.name, self.task, s, metric, value) for s, value in overlap.items()]
        return True

    def scores(self, results: Results) -> list[Score]:
        """Mean over cases of each one's mean over its structures."""
        mean = "mean_" if self.named else ""
        return [
            results.mean(
                f"{self.prefix}{mean}{metric}",
                f"{capital(self.task)}: {mean.replace('_', ' ')}{TITLES[metric]}",
                results.of(self.task, metric),
            )
            for metric in self.metrics
            if metric in TITLES
        ]

    def describe(self, results: Results, sections: Sequence[Section]) -> dict[str, Any]:
        """``dice`` of each structure over the cases in which it is known: n, mean, sd, median, min; mean volumes."""
        if not self.named:
            return {}
        own = results.rows[results.rows["task"] == self.task]
        volumes = own[own["metric"] == "volume_cc"].dropna().groupby("structure")[["reference", "predicted"]].mean()
        entries = []
        for structure, values in own[own["metric"] == "dice"].groupby("structure", sort=False)["value"]:
            entry = {"task": self.task, "structure": str(structure), "n": int(values.count())}
            entry |= {name: float(getattr(values, name)()) for name in ("mean", "std", "median", "min")}
            entry["sd"] = entry.pop("std")
            if "volume_cc" in self.metrics:
                entry |= {f"{k}_cc": volumes[k].get(structure, np.nan) for k in ("reference", "predicted")}
            entries.append(entry)
        return {"dice": entries}

    def notes(self) -> list[str]:
        if not self.named:
            return ["Dice and Jaccard index: mean over the cases with a reference outline."]
        return [
            "Mean Dice: mean over cases of the mean over each one's structures; a structure without reference is left "
            "out."
        ]

    def predictions(self, cases: Sequence[Case]) -> dict[str, list[Any]]:
        if self.named:
            return {}
        found = {(row.case, row.metric): row.value for case in cases for row in case.rows if row.task == self.task}
        return {m: [found.get((case.name, m), np.nan) for case in cases] for m in self.metrics if m in TITLES}

    def extremes(self, case: Case) -> list[tuple[str, float, str]]:
        dice = self._mean_dice(case)
        if np.isnan(dice):
            return []
        return [(c, sign * dice, f" ({dice:.3f})") for c, sign in zip(self.criteria, (-1, 1), strict=True)]

    def outlines(self) -> dict[str, list[str]]:
        return {self.task: self.structures}

    def focus(self, case: Case) -> np.ndarray | None:
        masks = case.volumes.get(f"reference_{self.task}", case.volumes.get(f"predicted_{self.task}"))
        return None if masks is None else (masks > 0.5).any(0).numpy()

    def details(self, case: Case, kept: Mapping[str, np.ndarray]) -> dict[str, list[Any]]:
        dice = {row.structure: row.value for row in case.rows if row.task == self.task and row.metric == "dice"}
        dice = {name: value for name, value in dice.items() if not np.isnan(value)}
        if not self.named:
            return {"captions": [f"Dice {value:.3f}" for value in dice.values()]}
        return {"tables": [{"head": ["", *dice], "rows": [["Dice", *dice.values()]]}]} if dice else {}

    def _mean_dice(self, case: Case) -> float:
        values = [row.value for row in case.rows if row.task == self.task and row.metric == "dice"]
        return float(pd.Series(values, dtype=float).mean())

    def _volumes(self, case: Case, predicted: torch.Tensor, reference: torch.Tensor) -> list[tuple[str, float, float]]:
        """Structure, reference and predicted volume in cm^3; NaN where unknown."""
        voxel = float(abs(np.linalg.det(case.geometry[:3, :3]))) / 1000
        volumes = [
            [float("nan") if np.isnan(mask).any() else np.count_nonzero(mask > 0.5) * voxel for mask in masks.numpy()]
            for masks in (reference, predicted)
        ]
        return [entry for entry in zip(self.structures, *volumes, strict=True) if entry[0] not in self.left_out]
