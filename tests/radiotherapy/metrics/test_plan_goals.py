# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import math
import re

import pytest
import torch

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.radiotherapy.metrics.plan_goals import check_goals, parse_goals

NAMES = ["PTV", "Rectum", "Bulb", "PTV_low"]


def plan() -> tuple[torch.Tensor, torch.Tensor]:
    """PTV: 57, 57.1 ... 67 Gy; rectum: 0, 10 ... 90 Gy; bulb unknown, PTV_low empty. Voxels of 500 mm^3 are meant."""
    dose = torch.zeros(1, 2, 101, 1)
    dose[0, 0, :, 0] = 57 + torch.arange(101) / 10
    dose[0, 1, :10, 0] = 10.0 * torch.arange(10)
    structures = torch.zeros(4, 2, 101, 1)
    structures[0, 0], structures[1, 1, :10], structures[2] = 1, 1, float("nan")
    return dose, structures


@pytest.mark.parametrize(
    ("goal", "value", "passed"),
    [
        ({"structure": "PTV", "metric": "mean", "unit": "Gy", "min": 62}, 62, True),
        ({"structure": "PTV", "metric": "D_95", "min": "95 %"}, 100 * 57.5 / 60, True),
        ({"structure": "PTV", "metric": "D_95", "min": "57.6 Gy"}, 57.5, False),
        ({"structure": "PTV", "metric": "D_2", "max": "107%"}, 100 * 66.8 / 60, False),
        ({"structure": "PTV", "metric": "D_50", "unit": "Gy", "min": 61, "max": 63}, 62, True),
        ({"structure": "PTV", "metric": "D_50", "unit": "Gy", "min": 63, "max": 65}, 62, False),
        # 4 of 10 voxels have 60 Gy or more, 1 of 10 has 90.
        ({"structure": "Rectum", "metric": "V_60", "max": "35 %"}, 40, False),
        ({"structure": "Rectum", "metric": "V_60", "unit": "cc", "max": 2}, 2, True),
        ({"structure": "Rectum", "metric": "V_150%", "max": "5 %"}, 10, False),
        ({"structure": "Rectum", "metric": "V_150 %", "max": "0.5 cc"}, 0.5, True),
        # 2.5 of 5 cc: the median of 0, 10 ... 90.
        ({"structure": "Rectum", "metric": "D_2.5_cc", "max": "45 Gy"}, 45, True),
        # 3 of 10: in floating point a little more than 30.
        ({"structure": "Rectum", "metric": "V_70", "max": "30 %"}, 30, True),
    ],
)
def test_values_and_verdicts_by_hand(goal, value, passed):
    (result,) = check_goals(*plan(), NAMES, 500.0, 60.0, [goal])
    assert result.value == pytest.approx(value, rel=1e-6) and result.passed is passed


def test_a_dose_of_single_precision_meets_the_limit_that_it_was_made_for():
    dose, structures = torch.full((1, 1, 3, 1), 74.1), torch.ones(1, 1, 3, 1)
    goals = [{"structure": "PTV", "metric": "D_98", "min": "95 %"}]
    assert check_goals(dose, structures, ["PTV"], 1.0, 78.0, goals)[0].passed is True
    assert check_goals(dose - 0.01, structures, ["PTV"], 1.0, 78.0, goals)[0].passed is False


def test_no_verdict_where_the_structure_is_unknown_or_empty():
    goals = [{"structure": s, "metric": m, "unit": "%", "min": 5} for s in ("Bulb", "PTV_low") for m in ("V_50", "D_5")]
    for result in check_goals(*plan(), NAMES, 500.0, 60.0, goals):
        assert math.isnan(result.value) and result.passed is None


def test_the_example_of_the_documentation_reads():
    example = re.search(r"code-block:: json\n(.*?\n        \])", parse_goals.__doc__, re.S).group(1)
    goals = parse_goals(json.loads(example), ["PTV", "Rectum", "Bladder"])
    assert [goal.label for goal in goals[:3]] == ["D_95 >= 95 %", "D_2 <= 107 %", "V_70 <= 20 %"]
    assert [goal.needs_prescription for goal in goals] == [True, True, False, False, False]
    assert goals[2].source == "QUANTEC" and parse_goals(goals, ["PTV", "Rectum", "Bladder"]) == goals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"structure": "Rectm"}, "no structure 'Rectm'; name one of PTV, Rectum"),
        ({"metric": "V65"}, "the metric 'V65'"),
        ({"metric": "D_101"}, "the metric 'D_101'"),
        ({"max": "35 Gy"}, "V_60 is measured in one of % and cc, not Gy"),
        ({"metric": "D_2"}, None),
        ({"metric": "D_2", "max": "3 cc"}, "D_2 is measured in one of Gy and %, not cc"),
        ({"max": 35}, "has no unit"),
        ({"max": "much"}, "the limit 'much'"),
        ({"max": True}, "the limit True is no number"),
        ({"unit": "cc"}, "the limit '35 %'"),
        ({"max": None}, "there is no limit"),
        ({"min": "40 %"}, "min is greater than max"),
        ({"limit": "35 %"}, "give structure, metric"),
    ],
)
def test_goals_that_cannot_be_read_are_named(change, message):
    goal = {"structure": "Rectum", "metric": "V_60", "max": "35 %"} | change
    if message is None:
        assert parse_goals([goal], NAMES)[0].unit == "%"
        return
    with pytest.raises(ConfigError, match="goal .*Rect.*") as caught:
        parse_goals([goal], NAMES)
    assert message in str(caught.value)


def test_twice_the_same_goal_and_a_prescription_that_lacks():
    goal = {"structure": "PTV", "metric": "D_95", "min": "95 %"}
    with pytest.raises(ConfigError, match="PTV D_95 >= 95 % stands twice"):
        parse_goals([goal, {**goal, "unit": "%", "min": 95}], NAMES)
    for nothing in (None, 0.0, float("nan")):
        with pytest.raises(DataError, match="PTV D_95 >= 95 % depend on the prescription"):
            check_goals(*plan(), NAMES, 500.0, nothing, [goal])
    with pytest.raises(DataError, match="one dose at a time"):
        check_goals(plan()[0].repeat(2, 1, 1, 1), plan()[1], NAMES, 500.0, 60.0, [goal])
