# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import math

import numpy as np
import pytest

from ctan_networks.reports.html import flatten
from ctan_networks.reports.scores import Results, Row, Score, strict
from ctan_networks.reports.section import Case
from ctan_networks.reports.sections.dose import DoseSection
from ctan_networks.reports.sections.plan import spread
from ctan_networks.reports.sections.segmentation import SegmentationSection

NAN = float("nan")
DOSE = DoseSection("dose", ["Cord", "PTV70"])
MASKS = SegmentationSection("segmentation", ["Cord", "Larynx"], prefix="")


def results(rows: list[Row], resamples: int = 10_000, groups: dict[str, str] | None = None) -> Results:
    cases = dict.fromkeys(row.case for row in rows)
    made = [Case(name, (groups or {}).get(name), rows=[row for row in rows if row.case == name]) for name in cases]
    return Results(made, resamples)


def test_dvh_score_is_one_flat_mean_and_not_a_mean_of_patients():
    rows = [Row("a", "dose", "Cord", "mean", 1.0, 2, 3), Row("a", "dose", "PTV70", "D_95", NAN)]
    rows += [Row("b", "dose", "Cord", "mean", 3.0, 5, 2), Row("b", "dose", "PTV70", "D_95", 8.0, 70, 62)]
    missing, score = DOSE.scores(results(rows))
    assert math.isnan(missing.value) and missing.cases is None and missing.n == 0
    assert score.value == pytest.approx((1 + 3 + 8) / 3)
    entry = score.entry()
    assert entry["mean"] == pytest.approx((1 + 5.5) / 2)
    assert (entry["worst"], entry["worst_case"], entry["n"]) == (5.5, "b", 2)
    cord, target = spread(results(rows).rows)
    assert (cord["n"], cord["error"], cord["bias"]) == (2, 2.0, -1.0)
    assert (target["n"], target["error"], target["bias"]) == (1, 8.0, -8.0) and math.isnan(target["sd"])


def test_interval_is_that_of_resampled_patients():
    rng = np.random.default_rng(1)
    patients = [rng.gamma(2, size=rng.integers(1, 12)) for _ in range(25)]
    rows = [Row(f"p{i}", "dose", "Cord", f"m{k}", v) for i, p in enumerate(patients) for k, v in enumerate(p)]
    score = DOSE.scores(results(rows))[1]
    draws = [np.concatenate([patients[i] for i in rng.integers(0, 25, 25)]).mean() for _ in range(4000)]
    assert [score.low, score.high] == pytest.approx(np.percentile(draws, [2.5, 97.5]), abs=0.05)
    assert score.low < score.value < score.high


def test_groups_are_drawn_together():
    rows = [Row(f"c{k}", "t", "", "dice", k / 20) for k in range(20)]
    alone = results(rows)
    pairs = results(rows, groups={f"c{k}": f"P{k // 10}" for k in range(20)})
    one, two = (r.mean("x", "X", r.of("t")) for r in (alone, pairs))
    assert one.value == two.value and (one.groups, two.groups) == (20, 2)
    assert [two.low, two.high] == pytest.approx([0.225, 0.725]), "of two groups the bounds are their own means"


def test_one_patient_has_no_interval_and_json_stays_strict():
    score = DOSE.scores(results([Row("a", "dose", "", "dose_score", 2.0)]))[0]
    assert math.isnan(score.low) and str(score) == "Dose score 2.000 Gy"
    assert str(Score("x", "X", "", True, 1.0, 0.5, 1.5, 0.0, 3, 3)) == "X 1.000 (0.500 to 1.500)"
    text = json.dumps(strict({"s": [score.entry()], "x": np.float32("inf"), 3: (np.int64(1), None)}), allow_nan=False)
    assert json.loads(text)["s"][0]["low"] is None and json.loads(text)["3"] == [1, None]


def test_worst_dice_is_the_lowest_and_unknown_structures_are_left_out():
    rows = [Row("a", "segmentation", s, "dice", d) for s, d in (("Cord", 0.5), ("Larynx", NAN))]
    rows += [Row("b", "segmentation", s, "dice", d) for s, d in (("Cord", 0.9), ("Larynx", 0.3))]
    found = results(rows)
    (score,) = MASKS.scores(found)
    assert score.name == "mean_dice" and score.value == pytest.approx((0.5 + 0.6) / 2)
    assert score.entry()["worst_case"] == "a"
    assert [(d["structure"], d["n"], d["mean"]) for d in MASKS.describe(found, [MASKS])["dice"]] == [
        ("Cord", 2, pytest.approx(0.7)),
        ("Larynx", 1, pytest.approx(0.3)),
    ]


def test_nested_details_become_rows():
    details = {"recipe": {"max_epochs": 3, "crop": [64, 64]}, "seed": 0, "nothing": None}
    assert flatten(details) == [("recipe max epochs", "3"), ("recipe crop", "64, 64"), ("seed", "0")]
