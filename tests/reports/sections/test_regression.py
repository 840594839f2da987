# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from ignite.engine import Engine
from monai.handlers import IgniteMetricHandler
from sklearn.metrics import balanced_accuracy_score

from ctan_networks.metrics import StructureDice
from ctan_networks.metrics.map_error import MapError
from ctan_networks.reports.report import Report
from ctan_networks.reports.section import Case
from ctan_networks.reports.sections.classification import ClassificationSection
from ctan_networks.reports.sections.regression import RegressionSection
from ctan_networks.reports.sections.segmentation import SegmentationSection
from ctan_networks.tools.comparison.results import read_results

SECTIONS = [
    SegmentationSection("seg", ["liver", "left lung"]),
    RegressionSection("heat"),
    ClassificationSection("grade", ["low", "mid", "high"]),
]


def make_items(count: int = 12) -> list[dict]:
    rng = np.random.default_rng(0)
    items = []
    for k in range(count):
        probabilities = rng.dirichlet([1, 1, 1])
        reference, predicted = (torch.tensor(rng.random((2, 6, 7)) > 0.5).float() for _ in range(2))
        heat = torch.tensor(rng.random((1, 6, 7)))
        items.append(
            {
                "case": f"c{k}",
                "group": f"P{k // 2}",
                "original": torch.tensor(rng.random((1, 6, 7))),
                "predicted_seg": predicted,
                "reference_seg": reference,
                "predicted_heat": heat + k / 10,
                "reference_heat": heat,
                "predicted_grade": torch.tensor(probabilities),
                "reference_grade": torch.tensor(k % 3),
            }
        )
    items[0]["reference_seg"] = torch.full((2, 6, 7), torch.nan)
    items[1]["reference_heat"] = torch.full((1, 6, 7), torch.nan)
    items[2]["reference_grade"] = torch.tensor(-1)
    return items


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    items = make_items()

    def step(engine, item):
        engine.state.output = [item]
        return engine.state.output

    engine = Engine(step)
    details = {"architecture": "ctan"}
    report = Report(folder, SECTIONS, None, details, True, "Any <tasks>", image_key="original", max_figures=2)
    report.attach(engine)
    engine.run(items)
    return folder, items


def dice(p, y) -> float:
    return float(2 * (p * y).sum() / (p.sum() + y.sum()))


def test_numbers_of_each_case(evaluated):
    folder, items = evaluated
    table = pd.read_csv(folder / "cases.csv").set_index("case")
    assert list(table.index) == [item["case"] for item in items] and list(table["group"])[:3] == ["P0", "P0", "P1"]
    item = items[5]
    assert table.loc["c5", "seg_left_lung_dice"] == pytest.approx(
        dice(item["predicted_seg"][1], item["reference_seg"][1])
    )
    assert table.loc["c5", "heat_mae"] == pytest.approx(0.5)
    assert table.loc["c5", "grade_probability"] == pytest.approx(float(item["predicted_grade"][2]))
    unknown = [("c0", "seg_liver_dice"), ("c1", "heat_mae"), ("c2", "grade_correct")]
    assert all(np.isnan(table.loc[case, column]) for case, column in unknown)
    assert table.isna().sum().sum() == 2 + 1 + 3
    long = pd.read_csv(folder / "metrics.csv")
    assert len(long) == 11 * 2 + 11 + 11 * 3 and "left lung" in set(long["structure"])


def test_scores_and_page(evaluated):
    folder, items = evaluated
    summary = json.loads((folder / "summary.json").read_text())
    scores = {score["name"]: score for score in summary["scores"]}
    means = [np.mean([dice(i["predicted_seg"][s], i["reference_seg"][s]) for s in range(2)]) for i in items[1:]]
    assert scores["seg_mean_dice"]["value"] == pytest.approx(np.mean(means))
    assert scores["heat_mae"]["value"] == pytest.approx(np.mean([k / 10 for k in range(12) if k != 1]))
    known = [item for item in items if item["reference_grade"] >= 0]
    expected = balanced_accuracy_score(
        [int(i["reference_grade"]) for i in known], [int(i["predicted_grade"].argmax()) for i in known]
    )
    assert scores["grade_balanced_accuracy"]["value"] == pytest.approx(expected)
    assert all(s["low"] <= s["value"] <= s["high"] and s["groups"] == 6 for s in scores.values())
    assert summary["phantom"] is True and summary["tasks"] == ["seg", "heat", "grade"] and summary["groups"] == 6
    page = (folder / "report.html").read_text()
    assert "PHANTOM RESULT" in page and "Any &lt;tasks&gt;" in page and page.count("<tr><th>c") == 12
    assert page.count("data:image/png;base64,") == 2 + 3 and "reference solid" in page and "highest Dice" in page


def test_a_comparison_reads_it(evaluated):
    found = read_results(evaluated[0], {"seg": ["mean_dice"], "grade": ["balanced_accuracy", "roc_auc"]})
    summary = json.loads((evaluated[0] / "summary.json").read_text())
    scores = {score["name"]: score["value"] for score in summary["scores"]}
    assert found["seg", "mean_dice"].value == pytest.approx(scores["seg_mean_dice"])
    assert found["grade", "roc_auc"].value == pytest.approx(scores["grade_roc_auc"])
    assert len(set(found["grade", "roc_auc"].groups)) == 6
    # Of a case without a class, too.
    groups = dict(zip(found["seg", "mean_dice"].cases, found["seg", "mean_dice"].groups, strict=True))
    assert groups == {f"c{k}": f"P{k // 2}" for k in range(1, 12)}


def test_what_the_evaluator_has_computed_is_taken_from_it(tmp_path):
    """The report's rows are those of the metric's latest batch, case by case."""
    item = make_items(4)
    dice, error = (
        IgniteMetricHandler(metric, output_transform=lambda x: x) for metric in (StructureDice(), MapError())
    )
    made = [SegmentationSection("seg", ["a", "b"], evaluated=dice), RegressionSection("heat", evaluated=error)]
    alone = [SegmentationSection("seg", ["a", "b"]), RegressionSection("heat")]
    for handler, task in ((dice, "seg"), (error, "heat")):
        handler.metric_fn([i[f"predicted_{task}"] for i in item], [i[f"reference_{task}"] for i in item])
    for position, each in enumerate(item):
        shared, computed = (Case(each["case"], None, each, position=position) for _ in range(2))
        for section, other in zip(made, alone, strict=True):
            assert section.score(shared) == other.score(computed)
        assert shared.rows == computed.rows
    dice.metric_fn.latest[:] = 0.25
    case = Case("c3", None, item[3], position=3)
    made[0].score(case)
    assert [row.value for row in case.rows] == [0.25, 0.25], "and not computed again"
    dice.metric_fn.reset()
    assert dice.metric_fn.latest is None
