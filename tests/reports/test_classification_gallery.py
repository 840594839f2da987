# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest

from ctan_networks.reports.classification_cases import ClassifiedCase
from ctan_networks.reports.classification_gallery import Gallery

CLASSES = {"diagnosis": ["mel", "nv"]}


def make_cases(count: int = 200) -> list[ClassifiedCase]:
    rng = np.random.default_rng(0)
    p = rng.uniform(size=count)
    labels = rng.integers(-1, 2, count)
    dice = np.where(rng.uniform(size=count) < 0.3, math.nan, rng.uniform(size=count))
    return [
        ClassifiedCase(str(i), str(i), True, {"diagnosis": np.array([1 - p[i], p[i]])}, {"diagnosis": int(y)}, dice[i])
        for i, y in enumerate(labels)
    ]


@pytest.mark.parametrize("count", [1, 4, 7, 12])
def test_chooses_as_if_all_had_been_kept(count):
    cases = make_cases()
    gallery = Gallery(CLASSES, "segmentation", count)
    kept: set[str] = set()
    for case in cases:
        kept = {*kept, case.name} & gallery.offer(case)
    chosen = gallery.chosen()
    assert len(chosen) == count == len({c.case for c in chosen}) and {c.case for c in chosen} <= kept
    assert len(kept) <= 4 * count
    by_dice = sorted((c for c in cases if not math.isnan(c.dice)), key=lambda c: c.dice)
    answered = sorted((c for c in cases if c.labels["diagnosis"] >= 0), key=lambda c: -c.confidence("diagnosis"))
    lists = [
        by_dice,
        by_dice[::-1],
        [c for c in answered if c.predicted("diagnosis") != c.labels["diagnosis"]],
        [c for c in answered if c.predicted("diagnosis") == c.labels["diagnosis"]],
    ]
    wanted: list[str] = []
    for rank in range(count):
        for ranking in lists:
            if len(wanted) < count and ranking[rank].name not in wanted:
                wanted.append(ranking[rank].name)
    assert {c.case for c in chosen} == set(wanted)


def test_says_why():
    gallery = Gallery(CLASSES, "segmentation", 6)
    for name, dice, p, label in (("a", 0.2, 0.9, 0), ("b", 0.9, 0.6, 1), ("c", 0.5, 0.7, 0), ("d", math.nan, 0.1, -1)):
        gallery.offer(ClassifiedCase(name, name, True, {"diagnosis": np.array([1 - p, p])}, {"diagnosis": label}, dice))
    assert [tuple(choice) for choice in gallery.chosen()] == [
        ("a", "lowest Dice (0.200)"),
        ("c", "2nd lowest Dice (0.500)"),
        ("b", "highest Dice (0.900)"),
    ], "the fourth has no reference"
    gallery = Gallery(CLASSES, None, 6)
    for name, p, label in (("a", 0.9, 0), ("b", 0.6, 1), ("c", 0.7, 0)):
        gallery.offer(
            ClassifiedCase(name, name, True, {"diagnosis": np.array([1 - p, p])}, {"diagnosis": label}, math.nan)
        )
    assert [tuple(choice) for choice in gallery.chosen()] == [
        ("a", "most confidently wrong diagnosis: nv (0.900), reference mel"),
        ("c", "2nd most confidently wrong diagnosis: nv (0.700), reference mel"),
        ("b", "most confidently right diagnosis: nv (0.600)"),
    ]


def test_none_wanted():
    gallery = Gallery(CLASSES, None, 0)
    assert not any(gallery.offer(case) for case in make_cases(20)) and gallery.chosen() == []
