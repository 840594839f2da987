# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import math

import numpy as np
import pytest

from ctan_networks.reports.html import flatten
from ctan_networks.reports.summary import chosen_cases, dice_by_structure, dvh_by_structure, score_table, strict
from ctan_networks.reports.tables import Row, to_frame

NAN = float("nan")


def dose_cases(scores: dict[str, float]):
    return to_frame(Row(case, "dose", "", "dose_score", score) for case, score in scores.items())


def test_dvh_score_is_one_flat_mean_and_not_a_mean_of_patients():
    rows = [Row("a", "dose", "Cord", "mean", 1.0, 2, 3), Row("a", "dose", "PTV70", "D_95", NAN)]
    rows += [Row("b", "dose", "Cord", "mean", 3.0, 5, 2), Row("b", "dose", "PTV70", "D_95", 8.0, 70, 62)]
    (score,) = score_table(to_frame(rows))
    assert score["value"] == pytest.approx((1 + 3 + 8) / 3)
    assert score["mean"] == pytest.approx((1 + 5.5) / 2)
    assert (score["worst"], score["worst_case"], score["patients"]) == (5.5, "b", 2)
    cord, target = dvh_by_structure(to_frame(rows))
    assert (cord["n"], cord["error"], cord["bias"]) == (2, 2.0, -1.0)
    assert (target["n"], target["error"], target["bias"]) == (1, 8.0, -8.0) and math.isnan(target["sd"])


def test_interval_is_that_of_resampled_patients():
    rng = np.random.default_rng(1)
    patients = [rng.gamma(2, size=rng.integers(1, 12)) for _ in range(25)]
    rows = [Row(f"p{i}", "dose", "Cord", f"m{k}", v) for i, p in enumerate(patients) for k, v in enumerate(p)]
    (score,) = score_table(to_frame(rows))
    draws = [np.concatenate([patients[i] for i in rng.integers(0, 25, 25)]).mean() for _ in range(4000)]
    assert [score["low"], score["high"]] == pytest.approx(np.percentile(draws, [2.5, 97.5]), abs=0.05)
    assert score["low"] < score["value"] < score["high"]


def test_one_patient_has_no_interval_and_json_stays_strict():
    (score,) = score_table(dose_cases({"a": 2.0}))
    assert math.isnan(score["low"])
    text = json.dumps(strict({"scores": [score], "x": np.float32("inf"), 3: (np.int64(1), None)}), allow_nan=False)
    assert json.loads(text)["scores"][0]["low"] is None and json.loads(text)["3"] == [1, None]


def test_worst_dice_is_the_lowest_and_unknown_structures_are_left_out():
    rows = [Row("a", "segmentation", s, "dice", d) for s, d in (("Cord", 0.5), ("Larynx", NAN))]
    rows += [Row("b", "segmentation", s, "dice", d) for s, d in (("Cord", 0.9), ("Larynx", 0.3))]
    (score,) = score_table(to_frame(rows))
    assert score["value"] == pytest.approx((0.5 + 0.6) / 2) and score["worst_case"] == "a"
    assert [(d["structure"], d["n"], d["mean"]) for d in dice_by_structure(to_frame(rows))] == [
        ("Cord", 2, pytest.approx(0.7)),
        ("Larynx", 1, pytest.approx(0.3)),
    ]


@pytest.mark.parametrize(
    ("count", "wanted"),
    [
        (0, []),
        (1, [("e", "worst")]),
        (2, [("a", "best"), ("e", "worst")]),
        (3, [("a", "best"), ("c", "median"), ("e", "worst")]),
        (4, [("a", "best"), ("c", "median"), ("d", "2nd worst"), ("e", "worst")]),
        (9, [("a", "best"), ("b", "4th worst"), ("c", "median"), ("d", "2nd worst"), ("e", "worst")]),
    ],
)
def test_cases_with_figures(count, wanted):
    scores = dose_cases({"c": 3.0, "e": 9.0, "x": NAN, "a": 1.0, "d": 4.0, "b": 2.0})
    assert chosen_cases(scores, count) == wanted


def test_cases_are_ranked_by_dice_where_there_is_no_dose():
    rows = [Row(case, "segmentation", "Cord", "dice", d) for case, d in (("a", 0.9), ("b", 0.2))]
    assert chosen_cases(to_frame(rows), 6) == [("a", "best"), ("b", "worst")]
    assert chosen_cases(to_frame(rows[:1]), 6) == [("a", "only case")]


def test_nested_details_become_rows():
    details = {"recipe": {"max_epochs": 3, "crop": [64, 64]}, "seed": 0, "nothing": None}
    assert flatten(details) == [("recipe max epochs", "3"), ("recipe crop", "64, 64"), ("seed", "0")]
