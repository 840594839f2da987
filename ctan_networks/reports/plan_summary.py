# SPDX-License-Identifier: Apache-2.0
"""What the plan rows of an evaluation come to: spread over patients, goals that are met, gamma."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from ctan_networks.radiotherapy.metrics.plan_goals import Goal
from ctan_networks.reports.plan import GAMMA_POINTS, PlanQuestions, goal_column, metric_unit

__all__ = ["plan_cases", "plan_summary"]


def plan_summary(rows: pd.DataFrame, questions: PlanQuestions) -> dict[str, Any]:
    """Entries of ``summary.json``: what was asked for and nothing else.

    Args:
        rows: as :py:func:`ctan_networks.reports.tables.to_frame` gives them.
        questions: what was computed.

    Returns:
        ``plan``: mean and standard deviation over patients of each metric of the reference and of the prediction, of
        prediction - reference (``bias``), and of \\|reference - prediction\\| (``error``, ``sd``). ``goals``: in how
        many of the n patients in whom the structure is known the reference and the predicted dose meet each goal, and
        in how many both say the same (``agree``). ``gamma``: settings, pass rate in % over patients.
    """
    entries: dict[str, Any] = {}
    if questions.metrics or questions.goals:
        plan = rows[rows["task"] == "plan"]
        groups = plan.groupby(["structure", "metric"], sort=False)
        entries["plan"] = [_spread(str(s), str(m), group.dropna(subset="value")) for (s, m), group in groups]
    if questions.goals:
        entries["goals"] = []
        for goal in questions.goals:
            own = rows[_is_goal(rows, goal)].dropna(subset="value")
            entries["goals"].append(
                {
                    "structure": goal.structure,
                    "goal": goal.label,
                    "source": goal.source,
                    "n": len(own),
                    "reference_met": int(own["reference"].sum()),
                    "predicted_met": int(own["predicted"].sum()),
                    "agree": int(own["value"].sum()),
                }
            )
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
        entry: dict[str, Any] = {"case": str(name)}
        if questions.gamma is not None:
            gamma = own[own["task"] == "gamma"].set_index("metric")["value"]
            entry |= {"gamma": float(gamma[questions.gamma_name]), "points": int(gamma[GAMMA_POINTS])}
        entry["goals"] = []
        for goal in questions.goals:
            found = own[
                (own["task"] == "plan") & (own["structure"] == goal.structure) & (own["metric"] == goal_column(goal))
            ]
            r, p = (float(found[column].iloc[0]) if len(found) else math.nan for column in ("reference", "predicted"))
            entry["goals"].append(
                {"reference": r, "predicted": p, "reference_met": goal.met(r), "predicted_met": goal.met(p)}
            )
        cases.append(entry)
    return cases


def _is_goal(rows: pd.DataFrame, goal: Goal) -> pd.Series:
    return (rows["task"] == "goal") & (rows["structure"] == goal.structure) & (rows["metric"] == goal.label)


def _spread(structure: str, metric: str, group: pd.DataFrame) -> dict[str, Any]:
    difference = group["predicted"] - group["reference"]
    return {
        "structure": structure,
        "metric": metric,
        "unit": metric_unit(metric),
        "n": len(group),
        "reference": float(group["reference"].mean()),
        "reference_sd": float(group["reference"].std()),
        "predicted": float(group["predicted"].mean()),
        "predicted_sd": float(group["predicted"].std()),
        "bias": float(difference.mean()),
        "error": float(group["value"].mean()),
        "sd": float(group["value"].std()),
    }
