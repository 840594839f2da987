# SPDX-License-Identifier: Apache-2.0
"""What an evaluation says about a plan: dose statistics, conformity, goals and gamma of reference and prediction."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.radiotherapy.metrics.dvh import TARGET_PREFIX, dose_at_volume, doses_in_structures
from ctan_networks.radiotherapy.metrics.gamma import gamma_pass_rate, require_gamma
from ctan_networks.radiotherapy.metrics.plan_goals import Goal, parse_goals
from ctan_networks.radiotherapy.metrics.plan_metrics import homogeneity_index, paddick_conformity
from ctan_networks.reports.scores import Row

__all__ = ["PlanQuestions", "metric_unit", "plan_cases", "plan_rows", "plan_summary", "read_prescription", "spread"]

HOMOGENEITY = "HI"
# Per cent of the prescription.
CONFORMITY_ISODOSE = 95
CONFORMITY = f"CI_{CONFORMITY_ISODOSE}%"
GAMMA_POINTS = "gamma_points"


class PlanQuestions:
    """What to ask of each plan, checked before any case is read.

    Args:
        metrics: whether dose statistics of each structure, and homogeneity and conformity of targets are wanted.
        goals: as :py:func:`ctan_networks.radiotherapy.metrics.plan_goals.parse_goals` takes them.
        gamma: settings of :py:func:`ctan_networks.radiotherapy.metrics.gamma.gamma_pass_rate`, those that are not given
            being the usual ones; ``{"normalisation": "prescription"}`` takes each case's own. None: not wanted.
        structures: names of all structures.

    Raises:
        ConfigError: when a goal or a setting cannot be read, or gamma is wanted and pymedphys not installed.
    """

    def __init__(
        self,
        metrics: bool,
        goals: Sequence[Mapping[str, Any] | Goal] | None,
        gamma: Mapping[str, Any] | None,
        structures: Sequence[str],
    ) -> None:
        self.metrics = bool(metrics)
        self.goals = parse_goals(goals or [], structures)
        self.gamma: dict[str, Any] | None = None
        if gamma is not None:
            require_gamma()
            parameters = list(inspect.signature(gamma_pass_rate).parameters.values())[3:]
            defaults = {parameter.name: parameter.default for parameter in parameters}
            unknown = sorted(set(gamma) - set(defaults))
            if unknown:
                raise ConfigError(f"gamma: there is no setting {', '.join(unknown)}; there are {', '.join(defaults)}.")
            self.gamma = {**defaults, **gamma}

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


def plan_rows(
    case: str,
    doses: torch.Tensor,
    masks: torch.Tensor | None,
    body: torch.Tensor,
    affine: np.ndarray,
    structures: Sequence[str],
    questions: PlanQuestions,
    prescription: float | None,
) -> list[Row]:
    """Answer the questions for one case, in the reference structures.

    Args:
        case: name of the case.
        doses: reference and predicted dose in Gy, ``[2, i, j, k]``.
        masks: reference structures ``[S, i, j, k]``; None: unknown.
        body: ``[1, i, j, k]``, where dose is possible.
        affine: ``[4, 4]``, voxel indices to millimetres.
        structures: names of the S structures.
        questions: what to compute.
        prescription: in Gy; None: not known.

    Returns:
        rows of the tasks ``plan`` (values), ``goal`` (met or not) and ``gamma``.

    Raises:
        DataError: when a question needs a prescription, and it is not known.
    """
    rows: list[Row] = []
    if masks is not None:
        voxel = float(abs(np.linalg.det(affine[:3, :3])))
        inside = dict(zip(structures, doses_in_structures(doses, masks, structures, voxel), strict=True))
        if any(goal.needs_prescription for goal in questions.goals):
            _needed(case, prescription, "a goal")
        verdicts = [
            [goal.value(values, voxel, prescription) for values in inside[goal.structure]] for goal in questions.goals
        ]
        for s, name in enumerate(structures):
            values: dict[str, list[float]] = {}
            if questions.metrics:
                values = {
                    "mean": [float(v.mean(dtype=np.float64)) if v.size else math.nan for v in inside[name]],
                    "D_2": [dose_at_volume(v, 2) for v in inside[name]],
                    "D_98": [dose_at_volume(v, 98) for v in inside[name]],
                }
                if name.startswith(TARGET_PREFIX):
                    values[HOMOGENEITY] = [homogeneity_index(v) for v in inside[name]]
                    if prescription is not None:
                        isodose = prescription * CONFORMITY_ISODOSE / 100
                        values[CONFORMITY] = [paddick_conformity(dose, masks[s], body, isodose) for dose in doses]
            for goal, pair in zip(questions.goals, verdicts, strict=True):
                if goal.structure == name:
                    values[goal_column(goal)] = pair
            rows += [Row(case, "plan", name, metric, abs(r - p), r, p) for metric, (r, p) in values.items()]
        for goal, pair in zip(questions.goals, verdicts, strict=True):
            r, p = (math.nan if met is None else float(met) for met in map(goal.met, pair))
            rows.append(Row(case, "goal", goal.structure, goal.label, 1 - abs(r - p), r, p))
    if questions.gamma is not None:
        settings = dict(questions.gamma)
        if settings.get("normalisation") == "prescription":
            settings["normalisation"] = _needed(case, prescription, "gamma")
        try:
            result = gamma_pass_rate(doses[:1], doses[1:], affine, **settings)
        except DataError as error:
            raise DataError(f"{case}: {error}") from error
        rows.append(Row(case, "gamma", "", questions.gamma_name, result.percent))
        rows.append(Row(case, "gamma", "", GAMMA_POINTS, result.points))
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


def plan_summary(rows: pd.DataFrame, questions: PlanQuestions) -> dict[str, Any]:
    """Entries of ``summary.json``: what was asked for and nothing else.

    Returns:
        ``plan``: as :py:func:`spread` gives it. ``goals``: in how many of the n patients in whom the structure is known
        the reference and the predicted dose meet each goal, and in how many both say the same (``agree``). ``gamma``:
        settings, pass rate in % over patients. ``plan_cases``: goals and gamma of each patient.
    """
    entries: dict[str, Any] = {}
    if questions.metrics or questions.goals:
        entries["plan"] = spread(rows[rows["task"] == "plan"])
    if questions.goals:
        verdicts = rows[rows["task"] == "goal"].dropna(subset="value").groupby(["structure", "metric"])
        counts = verdicts[["value", "reference", "predicted"]].agg("sum").assign(n=verdicts.size()).astype(int)
        names = {"n": "n", "reference_met": "reference", "predicted_met": "predicted", "agree": "value"}
        entries["goals"] = []
        for goal in questions.goals:
            key = (goal.structure, goal.label)
            numbers = {name: int(counts.loc[key, c]) if key in counts.index else 0 for name, c in names.items()}
            entries["goals"].append({"structure": goal.structure, "goal": goal.label, "source": goal.source, **numbers})
    if questions.gamma is not None:
        rates = rows[(rows["task"] == "gamma") & (rows["metric"] == questions.gamma_name)]["value"].dropna()
        entries["gamma"] = {
            "metric": questions.gamma_name,
            "settings": dict(questions.gamma),
            "n": len(rates),
            "mean": float(rates.mean()),
            "sd": float(rates.std()),
            "min": float(rates.min()),
        }
    if questions.goals or questions.gamma is not None:
        entries["plan_cases"] = plan_cases(rows, questions)
    return entries


def plan_cases(rows: pd.DataFrame, questions: PlanQuestions) -> list[dict[str, Any]]:
    """Gamma and goals of each case.

    Returns:
        of each case ``case``; ``gamma`` (pass rate in %) and ``points`` where asked for; and ``goals``, in the order of
        the questions: ``reference`` and ``predicted`` in the goal's unit, ``reference_met`` and ``predicted_met`` (None
        where the structure is unknown).
    """
    cases = []
    for name, own in rows[rows["task"].isin(["plan", "goal", "gamma"])].groupby("case", sort=False):
        entry: dict[str, Any] = {"case": str(name), "goals": []}
        if questions.gamma is not None:
            gamma = own[own["task"] == "gamma"].set_index("metric")["value"]
            entry |= {"gamma": float(gamma[questions.gamma_name]), "points": int(gamma[GAMMA_POINTS])}
        plan = own[own["task"] == "plan"].set_index(["structure", "metric"])[["reference", "predicted"]]
        for goal in questions.goals:
            key = (goal.structure, goal_column(goal))
            r, p = plan.loc[key] if key in plan.index else (math.nan, math.nan)
            met = {"reference_met": goal.met(r), "predicted_met": goal.met(p)}
            entry["goals"].append({"reference": float(r), "predicted": float(p), **met})
        cases.append(entry)
    return cases


def spread(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Mean and standard deviation over patients of each structure's metrics.

    Returns:
        ``structure``, ``metric``, ``unit``; ``n`` patients in whom it is known; ``reference``, ``predicted`` and their
        ``_sd``; ``bias``: mean of prediction - reference; ``error``, ``sd``, ``max`` of \\|reference - prediction\\|.
    """
    entries = []
    for (structure, metric), group in rows.groupby(["structure", "metric"], sort=False):
        group = group.dropna(subset="value").assign(bias=lambda g: g["predicted"] - g["reference"])
        mean, sd = (getattr(group[["reference", "predicted", "bias", "value"]], name)() for name in ("mean", "std"))
        entries.append(
            {
                "structure": str(structure),
                "metric": str(metric),
                "unit": metric_unit(str(metric)),
                "n": len(group),
                "reference": float(mean["reference"]),
                "reference_sd": float(sd["reference"]),
                "predicted": float(mean["predicted"]),
                "predicted_sd": float(sd["predicted"]),
                "bias": float(mean["bias"]),
                "error": float(mean["value"]),
                "sd": float(sd["value"]),
                "max": float(group["value"].max()),
            }
        )
    return entries


def _needed(case: str, prescription: float | None, what: str) -> float:
    if prescription is None:
        raise DataError(
            f"{case}: {what} depends on the prescription, which is not known; give it in the data list, or to "
            "the report."
        )
    return prescription
