# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ctan_networks.reports.figures import to_png
from ctan_networks.reports.scores import Results
from ctan_networks.reports.section import Case
from ctan_networks.reports.sections.classification import Answer, ClassificationSection
from ctan_networks.reports.sections.classification_figures import draw_confusion, draw_reliability, draw_roc

NAMES = ["mel", "nv", "bcc"]


DIAGNOSIS = ClassificationSection("diagnosis", NAMES)


def case(name: str, label: int, probabilities) -> Case:
    made = Case(name)
    made.item = {"predicted_diagnosis": torch.tensor(probabilities), "reference_diagnosis": torch.tensor(label)}
    assert DIAGNOSIS.score(made) == (label >= 0)
    return made


def describe(cases) -> dict:
    return DIAGNOSIS.describe(Results(cases), [DIAGNOSIS])["classification"]["diagnosis"]


CASES = [
    case("a", 0, [0.8, 0.1, 0.1]),
    case("b", 0, [0.3, 0.6, 0.1]),
    case("c", 1, [0.0, 1.0, 0.0]),
    case("d", 1, [0.2, 0.5, 0.3]),
    case("e", -1, [0.1, 0.1, 0.8]),
]


def test_each_class_by_hand():
    found = describe(CASES)
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
    scores = {s.name: s for s in DIAGNOSIS.scores(Results(CASES))}
    assert scores["diagnosis_accuracy"].value == 0.75 == scores["diagnosis_balanced_accuracy"].value
    assert scores["diagnosis_roc_auc"].value == pytest.approx((1 + 0.75) / 2) and scores["diagnosis_ece"].n == 4
    unknown = [case("x", -1, [1.0, 0, 0])]
    assert all(math.isnan(s.value) for s in DIAGNOSIS.scores(Results(unknown)))
    found = describe(unknown)
    assert found["n"] == 0 and DIAGNOSIS.illustrate(Results(unknown), {"classification": {"diagnosis": found}}) == {}


def test_columns_of_predictions():
    table = DIAGNOSIS.predictions(CASES)
    assert [column[1] for column in table.values()] == ["mel", "nv", 0.3, 0.6, 0.1]
    assert table["reference_diagnosis"][4] is None


STOIC = [
    ClassificationSection("covid", ["negative", "positive"]),
    ClassificationSection("severity", ["mild", "severe"]),
]


def scan(name: str, covid: int, severity: int) -> Case:
    answers = {"covid": covid, "severity": severity}
    return Case(name, facts={task: Answer(np.array([0.5, 0.5]), label) for task, label in answers.items()})


def only_where(task: int, cases) -> str | None:
    described = STOIC[task].describe(Results(cases), STOIC)["classification"]
    return described[STOIC[task].task]["known_only_where"]


def test_labels_that_only_one_class_has():
    cases = [scan("a", 1, 0), scan("b", 1, 1), scan("c", 1, -1), scan("d", 0, -1)]
    assert only_where(1, cases) == "covid: positive"
    assert only_where(0, cases) is None
    assert only_where(1, cases[:3]) is None, "all are positive: nothing to tell"
    assert only_where(1, [*cases, scan("e", 0, 0)]) is None
    assert only_where(1, [scan("a", -1, 0), scan("b", 0, -1)]) is None


def test_figures():
    found = describe(CASES)
    axis = draw_confusion(np.array(found["confusion"]), NAMES).axes[0]
    assert [t.get_text() for t in axis.texts][:4] == ["1\n50 %", "1\n50 %", "0", "0"]
    assert [t.get_text() for t in axis.get_yticklabels()] == ["mel (2)", "nv (2)", "bcc (0)"]
    curves = DIAGNOSIS.curves(Results(CASES), found)
    axis = draw_roc(curves).axes[0]
    assert [t.get_text() for t in axis.get_legend().get_texts()] == ["mel 1.000", "nv 0.750"]
    figure = draw_reliability(found["reliability"], found["ece"])
    above, below = figure.axes
    assert [bar.get_height() for bar in below.patches] == [1, 1, 1, 1] and above.get_title() == "ECE 0.325"
    assert to_png(figure, dpi=30)
