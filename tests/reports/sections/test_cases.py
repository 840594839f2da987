# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest

from ctan_networks.reports.scores import Results, Row
from ctan_networks.reports.section import Case
from ctan_networks.reports.sections.cases import Gallery, ranked_cases
from ctan_networks.reports.sections.classification import Answer, ClassificationSection
from ctan_networks.reports.sections.segmentation import SegmentationSection

MASKS = SegmentationSection("lesion", prefix="")
DIAGNOSIS = ClassificationSection("diagnosis", ["mel", "nv"])
NAN = math.nan


def make_case(name: str, dice: float, p: float, label: int) -> Case:
    rows = [Row(name, "lesion", "", "dice", dice)]
    return Case(name, rows=rows, facts={"diagnosis": Answer(np.array([1 - p, p]), label)})


def make_cases(count: int = 200) -> list[Case]:
    rng = np.random.default_rng(0)
    p = rng.uniform(size=count)
    labels = rng.integers(-1, 2, count)
    dice = np.where(rng.uniform(size=count) < 0.3, math.nan, rng.uniform(size=count))
    return [make_case(str(i), dice[i], p[i], int(y)) for i, y in enumerate(labels)]


@pytest.mark.parametrize("count", [1, 4, 7, 12])
def test_chooses_as_if_all_had_been_kept(count):
    cases = make_cases()
    gallery = Gallery([MASKS, DIAGNOSIS], count)
    kept: set[str] = set()
    for case in cases:
        kept = {*kept, case.name} & gallery.offer(case)
    chosen = gallery.chosen()
    assert len(chosen) == count == len({c.case for c in chosen}) and {c.case for c in chosen} <= kept
    assert len(kept) <= 4 * count
    by_dice = sorted((c for c in cases if not math.isnan(c.rows[0].value)), key=lambda c: c.rows[0].value)
    answered = [(c, c.facts["diagnosis"]) for c in cases if c.facts["diagnosis"].label >= 0]
    answered.sort(key=lambda pair: -pair[1].confidence)
    lists = [by_dice, by_dice[::-1], *([c for c, a in answered if (a.predicted == a.label) == r] for r in (0, 1))]
    wanted: list[str] = []
    for rank in range(count):
        for ranking in lists:
            if len(wanted) < count and ranking[rank].name not in wanted:
                wanted.append(ranking[rank].name)
    assert {c.case for c in chosen} == set(wanted)


def test_says_why():
    gallery = Gallery([MASKS, DIAGNOSIS], 6)
    for name, dice, p, label in (("a", 0.2, 0.9, 0), ("b", 0.9, 0.6, 1), ("c", 0.5, 0.7, 0), ("d", NAN, 0.1, -1)):
        gallery.offer(make_case(name, dice, p, label))
    assert [tuple(choice) for choice in gallery.chosen()] == [
        ("a", "lowest Dice (0.200)"),
        ("c", "2nd lowest Dice (0.500)"),
        ("b", "highest Dice (0.900)"),
    ], "the fourth has no reference"
    gallery = Gallery([DIAGNOSIS], 6)
    for name, p, label in (("a", 0.9, 0), ("b", 0.6, 1), ("c", 0.7, 0)):
        gallery.offer(make_case(name, NAN, p, label))
    assert [tuple(choice) for choice in gallery.chosen()] == [
        ("a", "most confidently wrong diagnosis: nv (0.900), reference mel"),
        ("c", "2nd most confidently wrong diagnosis: nv (0.700), reference mel"),
        ("b", "most confidently right diagnosis: nv (0.600)"),
    ]


def test_none_wanted():
    gallery = Gallery([DIAGNOSIS], 0)
    assert not any(gallery.offer(case) for case in make_cases(20)) and gallery.chosen() == []


def scored(dice: dict[str, float], error: dict[str, float]) -> list:
    rows = [Row(c, "seg", "", "dice", v) for c, v in dice.items()]
    rows += [Row(c, "map", "", "mae", v) for c, v in error.items()]
    results = Results([Case("all", rows=rows)])
    results.members = dict.fromkeys("abcdex", 0)
    means = [results.mean("mean_dice", "Mean Dice", results.of("seg"))]
    return [*means, results.mean("mae", "Error", results.of("map"), "Gy", higher_is_better=False)]


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
def test_ranked_cases(count, wanted):
    scores = scored({"a": 0.1}, {"c": 3.0, "e": 9.0, "x": NAN, "a": 1.0, "d": 4.0, "b": 2.0})
    chosen = ranked_cases(scores, ["mae", "mean_dice"], count)
    assert [(choice.case, choice.why.split(";")[0]) for choice in chosen] == wanted
    if count == 9:
        assert chosen[0].why == "best; Mean Dice 0.100; Error 1.000 Gy" and chosen[4].why == "worst; Error 9.000 Gy"


def test_cases_are_ranked_by_the_first_score_that_was_measured():
    by_dice = ranked_cases(scored({"a": 0.9, "b": 0.2}, {}), ["mae", "mean_dice"], 6)
    assert [(choice.case, choice.why.split(";")[0]) for choice in by_dice] == [("a", "best"), ("b", "worst")]
    assert ranked_cases(scored({"a": 0.9}, {}), ["mean_dice"], 6)[0].why.startswith("only case")
    assert ranked_cases(scored({"a": 0.9}, {}), ["other"], 6) == []
