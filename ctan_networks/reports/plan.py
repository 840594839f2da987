# SPDX-License-Identifier: Apache-2.0
"""What an evaluation says about a plan: dose statistics, conformity, goals and gamma of reference and prediction."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.radiotherapy.metrics.dvh import TARGET_PREFIX
from ctan_networks.radiotherapy.metrics.gamma import gamma_pass_rate, require_gamma
from ctan_networks.radiotherapy.metrics.plan_goals import Goal, check_goals, parse_goals
from ctan_networks.radiotherapy.metrics.plan_metrics import (
    STATISTICS,
    dose_statistics,
    doses_in_structures,
    homogeneity_index,
    paddick_conformity,
)
from ctan_networks.reports.cases import Case
from ctan_networks.reports.tables import Row

__all__ = ["PlanQuestions", "goal_column", "metric_unit", "plan_rows", "read_prescription"]

SHOWN_STATISTICS = ("mean", "D_2", "D_98")
HOMOGENEITY = "HI"
# Per cent of the prescription.
CONFORMITY_ISODOSE = 95
CONFORMITY = f"CI_{CONFORMITY_ISODOSE}%"
GAMMA_POINTS = "gamma_points"


class PlanQuestions(NamedTuple):
    """What to ask of each plan.

    Attributes:
        metrics: whether dose statistics of each structure, and homogeneity and conformity of targets are wanted.
        goals: to be checked.
        gamma: all settings of :py:func:`ctan_networks.radiotherapy.metrics.gamma.gamma_pass_rate`; None: not wanted.
    """

    metrics: bool
    goals: list[Goal]
    gamma: Mapping[str, Any] | None

    @classmethod
    def read(
        cls,
        metrics: bool,
        goals: Sequence[Mapping[str, Any] | Goal] | None,
        gamma: Mapping[str, Any] | None,
        structures: Sequence[str],
    ) -> PlanQuestions:
        """Check what a configuration asks for, before any case is read.

        Args:
            metrics: as the attribute.
            goals: as :py:func:`ctan_networks.radiotherapy.metrics.plan_goals.parse_goals` takes them.
            gamma: settings; ``{"normalisation": "prescription"}`` takes each case's own.
            structures: names of all structures.

        Raises:
            ConfigError: when a goal or a setting cannot be read, or gamma is wanted and pymedphys not installed.
        """
        if gamma is not None:
            require_gamma()
            parameters = list(inspect.signature(gamma_pass_rate).parameters.values())[3:]
            defaults = {parameter.name: parameter.default for parameter in parameters}
            unknown = sorted(set(gamma) - set(defaults))
            if unknown:
                raise ConfigError(f"gamma: there is no setting {', '.join(unknown)}; there are {', '.join(defaults)}.")
            gamma = {**defaults, **gamma}
        return cls(bool(metrics), parse_goals(goals or [], structures), gamma)

    @property
    def gamma_name(self) -> str:
        """Metric of the rows of gamma, such as ``gamma_3%_3mm``."""
        assert self.gamma is not None, "gamma was not asked for"
        return f"gamma_{self.gamma['dose_percent']:g}%_{self.gamma['distance_mm']:g}mm"


def read_prescription(item: Mapping[str, Any], key: str, default: float | None) -> float | None:
    """The prescribed dose of a case in Gy; the default where the case has none, or NaN.

    Raises:
        DataError: when it is not one positive number.
    """
    value = item.get(key)
    if value is not None:
        numbers = np.asarray(value.cpu() if isinstance(value, torch.Tensor) else value)
        gray = float(numbers.item()) if numbers.size == 1 and numbers.dtype.kind in "iuf" else -1.0
        if not math.isnan(gray):
            if not (math.isfinite(gray) and gray > 0):
                raise DataError(f"{item.get('case')}: '{key}' must be one positive dose in Gy, not {value!r}.")
            return gray
    return default


def plan_rows(case: Case, structures: Sequence[str], questions: PlanQuestions, prescription: float | None) -> list[Row]:
    """Answer the questions for one case, in the reference structures.

    Args:
        case: as :py:func:`ctan_networks.reports.cases.read_case` gives it; without both doses it gives no rows.
        structures: names of the channels of the segmentations.
        questions: what to compute.
        prescription: in Gy; None: not known.

    Returns:
        rows of the tasks ``plan`` (values), ``goal`` (met or not) and ``gamma``.

    Raises:
        DataError: when a question needs a prescription, and it is not known.
    """
    volumes = case.volumes
    if "reference_dose" not in volumes or "predicted_dose" not in volumes:
        return []
    rows: list[Row] = []
    if "reference_segmentation" in volumes:
        doses = torch.cat([volumes["reference_dose"], volumes["predicted_dose"]])
        masks, voxel_volume = volumes["reference_segmentation"], float(abs(np.linalg.det(case.affine[:3, :3])))
        values: dict[tuple[str, str], tuple[float, float]] = {}
        if questions.metrics:
            values |= _metrics(doses, masks, volumes["mask"], structures, voxel_volume, prescription)
        verdicts = _verdicts(case.name, doses, masks, structures, voxel_volume, prescription, questions.goals)
        for goal, (reference, predicted) in zip(questions.goals, verdicts, strict=True):
            values[goal.structure, goal_column(goal)] = reference, predicted
        order = {name: number for number, name in enumerate(structures)}
        for (structure, metric), (r, p) in sorted(values.items(), key=lambda entry: order[entry[0][0]]):
            rows.append(Row(case.name, "plan", structure, metric, abs(r - p), r, p))
        for goal, pair in zip(questions.goals, verdicts, strict=True):
            r, p = (math.nan if met is None else float(met) for met in map(goal.met, pair))
            rows.append(Row(case.name, "goal", goal.structure, goal.label, 1 - abs(r - p), r, p))
    if questions.gamma is not None:
        settings = dict(questions.gamma)
        if settings.get("normalisation") == "prescription":
            settings["normalisation"] = _needed(case.name, prescription, "gamma")
        try:
            result = gamma_pass_rate(volumes["reference_dose"], volumes["predicted_dose"], case.affine, **settings)
        except DataError as error:
            raise DataError(f"{case.name}: {error}") from error
        rows.append(Row(case.name, "gamma", "", questions.gamma_name, result.percent))
        rows.append(Row(case.name, "gamma", "", GAMMA_POINTS, result.points))
    return rows


def goal_column(goal: Goal) -> str:
    """Name of a goal's value among the metrics of the task ``plan``; :py:func:`metric_unit` reads the unit off it."""
    if goal.is_volume:
        return goal.metric + ("_cc" if goal.unit == "cc" else "")
    return goal.metric + ("_%" if goal.unit == "%" else "")


def metric_unit(metric: str) -> str:
    """Unit of a metric of the task ``plan``: ``V_65`` and ``V_95%`` are %, ``V_65_cc`` cc, ``D_95_%`` and ``mean_%`` %
    of the prescription, ``HI`` and ``CI_95%`` have none; the rest is Gy."""
    if metric in (HOMOGENEITY, CONFORMITY):
        return ""
    if metric.startswith("V_"):
        return "cc" if metric.endswith("_cc") else "%"
    return "% of prescription" if metric.endswith("_%") else "Gy"


def _metrics(
    doses: torch.Tensor,
    masks: torch.Tensor,
    body: torch.Tensor,
    structures: Sequence[str],
    voxel_volume: float,
    prescription: float | None,
) -> dict[tuple[str, str], tuple[float, float]]:
    """Values (of reference and prediction) by structure and metric."""
    table = dose_statistics(doses, masks, structures, voxel_volume)
    inside = doses_in_structures(doses, masks, structures, voxel_volume)
    values = {}
    for s, name in enumerate(structures):
        for metric in SHOWN_STATISTICS:
            r, p = table[:, s, STATISTICS.index(metric)].tolist()
            values[name, metric] = r, p
        if name.startswith(TARGET_PREFIX):
            values[name, HOMOGENEITY] = homogeneity_index(inside[s][0]), homogeneity_index(inside[s][1])
            if prescription is not None:
                isodose = prescription * CONFORMITY_ISODOSE / 100
                r, p = (paddick_conformity(dose, masks[s], body, isodose) for dose in doses)
                values[name, CONFORMITY] = r, p
    return values


def _verdicts(
    case: str,
    doses: torch.Tensor,
    masks: torch.Tensor,
    structures: Sequence[str],
    voxel_volume: float,
    prescription: float | None,
    goals: Sequence[Goal],
) -> list[tuple[float, float]]:
    """Values of each goal, in its unit."""
    if any(goal.needs_prescription for goal in goals):
        _needed(case, prescription, "a goal")
    results = [check_goals(dose[None], masks, structures, voxel_volume, prescription, goals) for dose in doses]
    return [(r.value, p.value) for r, p in zip(*results, strict=True)]


def _needed(case: str, prescription: float | None, what: str) -> float:
    if prescription is None:
        raise DataError(
            f"{case}: {what} depends on the prescription, which is not known; give it in the data list, or to "
            "the report."
        )
    return prescription
