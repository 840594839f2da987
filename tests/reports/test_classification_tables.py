# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest

from ctan_networks.reports.classification_cases import ClassifiedCase
from ctan_networks.reports.classification_figures import draw_confusion, draw_reliability, draw_roc
from ctan_networks.reports.classification_tables import (
    class_scores,
    describe_task,
    known_only_where,
    predictions_frame,
    roc_curves,
)
from ctan_networks.reports.figures import to_png

NAMES = ["mel", "nv", "bcc"]
STOIC = {"covid": ["negative", "positive"], "severity": ["mild", "severe"]}


def case(name: str, label: int, probabilities, dice: float = math.nan, group: str | None = None) -> ClassifiedCase:
    return ClassifiedCase(name, group or name, True, {"diagnosis": np.array(probabilities)}, {"diagnosis": label}, dice)


CASES = [
    case("a", 0, [0.8, 0.1, 0.1], 0.9),
    case("b", 0, [0.3, 0.6, 0.1], 0.5),
    case("c", 1, [0.0, 1.0, 0.0]),
    case("d", 1, [0.2, 0.5, 0.3]),
    case("e", -1, [0.1, 0.1, 0.8], 0.7),
]


def test_each_class_by_hand():
    found = describe_task(CASES, "diagnosis", NAMES)
    assert found["confusion"] == [[1, 1, 0], [0, 2, 0], [0, 0, 0]] and (found["n"], found["groups"]) == (4, 4)
    mel, nv, bcc = found["per_class"]
    assert (mel["n"], mel["recall"], mel["precision"], mel["roc_auc"]) == (2, 0.5, 1.0, 1.0)
    # Of the four pairs of nv and the rest, 0.5 against 0.6 is the wrong way round.
    assert (nv["recall"], nv["precision"], nv["roc_auc"]) == (1.0, pytest.approx(2 / 3), 0.75)
    assert bcc["n"] == 0 and all(math.isnan(bcc[key]) for key in ("recall", "precision", "roc_auc"))
    filled = [b for b in found["reliability"] if b["n"]]
    assert [(b["n"], b["accuracy"]) for b in filled] == [(1, 1.0), (1, 0.0), (1, 1.0), (1, 1.0)]
    assert filled[-1]["confidence"] == 1 == filled[-1]["high"]
    assert found["ece"] == pytest.approx((0.5 + 0.6 + 0.2 + 0) / 4)


def test_scores_are_of_the_labelled():
    scores = {s["name"]: s for s in class_scores(CASES, {"diagnosis": NAMES}, "segmentation")}
    assert (scores["dice"]["value"], scores["dice"]["n"]) == (pytest.approx(0.7), 3)
    assert scores["jaccard"]["value"] == pytest.approx(np.mean([9 / 11, 1 / 3, 7 / 13]))
    assert scores["diagnosis_accuracy"]["value"] == 0.75 == scores["diagnosis_balanced_accuracy"]["value"]
    assert scores["diagnosis_roc_auc"]["value"] == pytest.approx((1 + 0.75) / 2)
    unknown = [case("x", -1, [1, 0, 0], 0.5)]
    assert all(math.isnan(s["value"]) for s in class_scores(unknown, {"diagnosis": NAMES}, None))
    assert describe_task(unknown, "diagnosis", NAMES)["n"] == 0 and roc_curves(unknown, "diagnosis", NAMES) == []


def test_table_of_predictions():
    table = predictions_frame(CASES, {"diagnosis": NAMES}, None).set_index("case")
    assert list(table.loc["b"]) == ["b", "mel", "nv", 0.3, 0.6, 0.1]
    assert table.loc["e", "reference_diagnosis"] is None or table["reference_diagnosis"].isna()["e"]


def stoic(name: str, covid: int, severity: int) -> ClassifiedCase:
    p = {task: np.array([0.5, 0.5]) for task in STOIC}
    return ClassifiedCase(name, name, True, p, {"covid": covid, "severity": severity}, math.nan)


def test_labels_that_only_one_class_has():
    cases = [stoic("a", 1, 0), stoic("b", 1, 1), stoic("c", 1, -1), stoic("d", 0, -1)]
    assert known_only_where(cases, "severity", STOIC) == ("covid", "positive")
    assert known_only_where(cases, "covid", STOIC) is None
    assert known_only_where(cases[:3], "severity", STOIC) is None, "all are positive: nothing to tell"
    assert known_only_where([*cases, stoic("e", 0, 0)], "severity", STOIC) is None
    assert known_only_where([stoic("a", -1, 0), stoic("b", 0, -1)], "severity", STOIC) is None


def test_figures():
    found = describe_task(CASES, "diagnosis", NAMES)
    axis = draw_confusion(np.array(found["confusion"]), NAMES).axes[0]
    assert [t.get_text() for t in axis.texts][:4] == ["1\n50 %", "1\n50 %", "0", "0"]
    assert [t.get_text() for t in axis.get_yticklabels()] == ["mel (2)", "nv (2)", "bcc (0)"]
    axis = draw_roc(roc_curves(CASES, "diagnosis", NAMES)).axes[0]
    assert [t.get_text() for t in axis.get_legend().get_texts()] == ["mel 1.000", "nv 0.750"]
    figure = draw_reliability(found["reliability"], found["ece"])
    above, below = figure.axes
    assert [bar.get_height() for bar in below.patches] == [1, 1, 1, 1] and above.get_title() == "ECE 0.325"
    assert to_png(figure, dpi=30)
