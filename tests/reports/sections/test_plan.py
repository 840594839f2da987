# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ctan_networks.errors import DataError
from ctan_networks.reports.scores import Row, to_frame
from ctan_networks.reports.sections.plan import (
    PlanQuestions,
    metric_unit,
    plan_cases,
    plan_rows,
    plan_summary,
    read_prescription,
)

NAN = float("nan")
NAMES = ["Rectum", "PTV"]
GOALS = [
    {"structure": "PTV", "metric": "D_95", "min": "95 %"},
    {"structure": "Rectum", "metric": "V_40", "max": "30 %"},
    {"structure": "Rectum", "metric": "V_40", "max": "60 %"},
]


def answer(
    name: str, shift: float, questions: PlanQuestions, gray: float | None, *, rectum: bool = True, flat: bool = False
) -> list[Row]:
    """The rectum has 0, 10 ... 90 Gy, the target 60 Gy; the prediction ``shift`` Gy more."""
    masks, dose = torch.zeros(2, 1, 10, 2), torch.full((1, 1, 10, 2), 60.0)
    masks[0, ..., 0] = 1 if rectum else NAN
    masks[1, ..., 1] = 1
    dose[..., 0] = 10 * torch.arange(10.0)
    dose = torch.full_like(dose, 60.0) if flat else dose
    doses, body = torch.cat([dose, dose + shift]), torch.ones(1, 1, 10, 2)
    return plan_rows(name, doses, masks, body, np.diag([10.0, 10, 10, 1]), NAMES, questions, gray)


def test_rows_and_summary_by_hand():
    questions = PlanQuestions(True, GOALS, None, NAMES)
    rows = [*answer("a", -5.0, questions, 60.0), *answer("b", 1.0, questions, 60.0, rectum=False)]
    values = {(row.case, row.structure, row.metric): row[4:] for row in rows}
    assert values["a", "Rectum", "mean"] == (5, 45, 40)
    assert values["a", "Rectum", "V_40"] == pytest.approx((10, 60, 50))
    assert values["a", "PTV", "D_95_%"] == pytest.approx((100 * 5 / 60, 100, 100 * 55 / 60))
    # 57 Gy: the reference has the target and four voxels (60 to 90 Gy) beside it, the prediction three (65 to 85 Gy).
    assert values["a", "PTV", "CI_95%"] == pytest.approx((10 / 14, 10 / 14, 0))
    assert values["a", "PTV", "D_95 >= 95 %"] == (0, 1, 0)
    assert values["a", "Rectum", "V_40 <= 60 %"] == (1, 1, 1) and values["a", "Rectum", "V_40 <= 30 %"] == (1, 0, 0)
    assert np.isnan(values["b", "Rectum", "V_40 <= 60 %"]).all() and np.isnan(values["b", "Rectum", "D_2"]).all()
    assert [key for key in values if key[0] == "a"].count(("a", "Rectum", "V_40")) == 1, "two goals, one value"

    summary = plan_summary(to_frame(rows), questions)
    assert set(summary) == {"plan", "goals", "plan_cases"}
    means = {(entry["structure"], entry["metric"]): entry for entry in summary["plan"]}
    target = means["PTV", "mean"]
    assert (target["reference"], target["predicted"], target["bias"], target["error"]) == (60, 58, -2, 3)
    assert target["predicted_sd"] == pytest.approx(6 / math.sqrt(2)) and target["sd"] == pytest.approx(4 / math.sqrt(2))
    assert means["Rectum", "mean"]["n"] == 1 and means["Rectum", "mean"]["unit"] == "Gy"
    verdicts = [[goal[key] for key in ("n", "reference_met", "predicted_met", "agree")] for goal in summary["goals"]]
    assert verdicts == [[2, 2, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]]
    b = plan_cases(to_frame(rows), questions)[1]
    assert b["case"] == "b" and [goal["predicted_met"] for goal in b["goals"]] == [True, None, None]


def test_goals_alone_bring_their_own_metrics_and_no_more():
    questions = PlanQuestions(False, GOALS, None, NAMES)
    rows = answer("a", 0.0, questions, 60.0)
    assert [(row.task, row.metric) for row in rows] == [
        ("plan", "V_40"),
        ("plan", "D_95_%"),
        ("goal", "D_95 >= 95 %"),
        ("goal", "V_40 <= 30 %"),
        ("goal", "V_40 <= 60 %"),
    ]


def test_gamma_is_that_of_the_case_and_names_it():
    pytest.importorskip("pymedphys")
    questions = PlanQuestions(False, None, {"dose_percent": 5, "normalisation": "prescription"}, NAMES)
    # 5 % of 60 Gy is 3 Gy, of 40 Gy is 2 Gy; at 2.5 Gy the flat target passes in the first only.
    assert answer("a", 2.5, questions, 60.0, flat=True)[0] == (
        "a",
        "gamma",
        "",
        "gamma_5%_3mm",
        100.0,
        *([pytest.approx(NAN, nan_ok=True)] * 2),
    )
    rows = answer("a", 2.5, questions, 40.0, flat=True)
    assert [(row.metric, row.value) for row in rows] == [("gamma_5%_3mm", 0.0), ("gamma_points", 20)]
    summary = plan_summary(
        to_frame([*rows, Row("b", "gamma", "", "gamma_5%_3mm", 50.0), Row("b", "gamma", "", "gamma_points", 9)]),
        questions,
    )
    assert set(summary) == {"gamma", "plan_cases"} and summary["gamma"]["settings"]["distance_mm"] == 3
    assert (summary["gamma"]["mean"], summary["gamma"]["min"], summary["gamma"]["n"]) == (25, 0, 2)
    with pytest.raises(DataError, match="a: gamma depends on the prescription"):
        answer("a", 2.5, questions, None)
    with pytest.raises(DataError, match="a: gamma: a dose holds NaN"):
        answer("a", NAN, questions, 60.0)


def test_prescription_of_a_case():
    assert read_prescription({"case": "a", "prescription": torch.tensor([60.0])}, "prescription", 70.0) == 60
    assert read_prescription({"case": "a", "prescription": 62}, "prescription", None) == 62
    assert read_prescription({"case": "a", "prescription": NAN}, "prescription", 70.0) == 70
    assert read_prescription({"case": "a"}, "prescription", None) is None
    for wrong in (0, -3.0, "60 Gy", [60.0, 70.0], math.inf, True):
        with pytest.raises(DataError, match="a: 'prescription' must be one positive dose"):
            read_prescription({"case": "a", "prescription": wrong}, "prescription", 70.0)


def test_a_name_tells_the_unit():
    units = {
        "mean": "Gy",
        "D_2": "Gy",
        "D_2_cc": "Gy",
        "V_65": "%",
        "V_95%": "%",
        "V_65_cc": "cc",
        "HI": "",
        "CI_95%": "",
    }
    units |= {"D_95_%": "% of prescription", "mean_%": "% of prescription", "V_95%_cc": "cc"}
    assert {metric: metric_unit(metric) for metric in units} == units
