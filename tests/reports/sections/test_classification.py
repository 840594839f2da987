# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, jaccard_score, roc_auc_score

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.nets import make_network
from ctan_networks.reports.report import Report
from ctan_networks.reports.sections.classification import ClassificationSection
from ctan_networks.reports.sections.segmentation import SegmentationSection

NAMES = ["mel", "nv", "bcc"]
STOIC = {"covid": ["negative", "positive"], "severity": ["not severe", "severe"]}
LOGGER = "ctan_networks.reports.report"


def photo_case(number: int, **changes) -> tuple[dict, dict]:
    """What MONAI's evaluator has of one photograph, 60 wide and 40 high: (batch, output)."""
    rng = np.random.default_rng(number)
    x, y = np.meshgrid(np.arange(60), np.arange(40), indexing="ij")
    center, radius = rng.uniform([20, 12], [40, 28]), rng.uniform(6, 11)
    reference, predicted = (
        (((x - center[0] - shift) / 1.3) ** 2 + (y - center[1]) ** 2 < radius**2)[None].astype(np.float32)
        for shift in (0, rng.uniform(0, 6))
    )
    skin = np.array([225, 170, 150])[:, None, None] - reference * np.array([90, 100, 90])[:, None, None]
    label = int(rng.integers(3))
    probabilities = rng.dirichlet(np.ones(3) + 3 * np.eye(3)[label])
    output = {
        "reference_segmentation": torch.from_numpy(reference),
        "predicted_segmentation": MetaTensor(torch.from_numpy(predicted)),
        "predicted_diagnosis": torch.from_numpy(probabilities).float(),
        "reference_diagnosis": torch.tensor(label),
        "image": torch.from_numpy((skin - 128).astype(np.float32) / 64),
    }
    photo = torch.from_numpy((skin + rng.normal(0, 4, skin.shape)).clip(0, 255).astype(np.uint8))
    return {"case": f"image_{number:02d}", "group": f"lesion_{number // 2}", "photo": photo}, output | changes


def scan_case(number: int, covid: int, severity: int = -1) -> tuple[dict, dict]:
    rng = np.random.default_rng(number)
    volume = rng.normal(0, 0.05, (1, 20, 16, 18)).astype(np.float32)
    volume[:, 2:-2, 2:-2, 2:-2] += 0.5
    volume[:, 4:8, 4:-4, 4:-4] -= 0.8
    volume[:, -8:-4, 4:-4, 4:-4] -= 0.8
    output: dict = {"image": MetaTensor(torch.from_numpy(volume), affine=np.diag([3.0, 3, 3, 1]))}
    for task, label in (("covid", covid), ("severity", severity)):
        p = float(np.clip(rng.normal(0.3 + 0.4 * (label == 1), 0.2), 0.01, 0.99))
        output |= {f"predicted_{task}": torch.tensor([1 - p, p]), f"reference_{task}": torch.tensor(label)}
    return {"case": f"{number:04d}", "group": f"{number:04d}"}, output


def sections_of(classes=None, segmentation="segmentation", network=None) -> list:
    classes = {"diagnosis": NAMES} if classes is None else classes
    masks = [SegmentationSection(segmentation, metrics=["dice", "jaccard"], prefix="")] if segmentation else []
    return [*masks, *(ClassificationSection(task, names, network) for task, names in classes.items())]


def run(folder, cases: list[tuple[dict, dict]], classes=None, segmentation="segmentation", **options) -> dict:
    def step(engine, index):
        engine.state.batch, output = [cases[index][0]], [cases[index][1]]
        return output

    engine = Engine(step)
    options = {"image_key": "photo", "unit": "lesion", "max_figures": 1} | options
    network = options.pop("network", None)
    Report(folder, sections_of(classes, segmentation, network), **options).attach(engine)
    engine.run(range(len(cases)))
    return json.loads((folder / "summary.json").read_text())


def scores_of(summary: dict) -> dict[str, dict]:
    return {score["name"]: score for score in summary["scores"]}


def test_numbers_follow_the_definitions(tmp_path):
    cases = [photo_case(i) for i in range(40)]
    for i in (3, 8):
        cases[i][1]["reference_diagnosis"] = torch.tensor(-1)
    for i in (5, 6, 7):
        cases[i][1]["reference_segmentation"] = torch.full((1, 60, 40), torch.nan)
    summary = run(tmp_path, cases)
    scores = scores_of(summary)
    assert (summary["cases"], summary["groups"], summary["cases_without_group"]) == (40, 20, 0)
    assert summary["labelled"] == {"segmentation": 37, "diagnosis": 38}
    known = [output for _, output in cases if output["reference_diagnosis"] >= 0]
    labels = [int(output["reference_diagnosis"]) for output in known]
    probabilities = np.array([output["predicted_diagnosis"].numpy() for output in known], float)
    predicted = probabilities.argmax(1)
    expected = balanced_accuracy_score(labels, predicted)
    assert scores["diagnosis_balanced_accuracy"]["value"] == pytest.approx(expected)
    expected = roc_auc_score(labels, probabilities / probabilities.sum(1, keepdims=True), multi_class="ovr")
    assert scores["diagnosis_roc_auc"]["value"] == pytest.approx(expected)
    drawn = [output for _, output in cases if not output["reference_segmentation"].isnan().any()]
    jaccard = [
        jaccard_score(o["reference_segmentation"].numpy().ravel(), o["predicted_segmentation"].numpy().ravel())
        for o in drawn
    ]
    assert scores["jaccard"]["value"] == pytest.approx(np.mean(jaccard))
    assert scores["dice"]["value"] == pytest.approx(np.mean([2 * j / (1 + j) for j in jaccard]))
    for score in scores.values():
        assert score["low"] < score["value"] < score["high"] or score["name"].endswith("ece")
        assert (score["n"], score["groups"]) in ((38, 20), (37, 19), (37, 20))
    found = summary["classification"]["diagnosis"]
    assert found["confusion"] == confusion_matrix(labels, predicted).tolist()
    assert [c["n"] for c in found["per_class"]] == np.bincount(labels).tolist()
    assert sum(b["n"] for b in found["reliability"]) == 38
    gaps = [b["n"] / 38 * abs(b["accuracy"] - b["confidence"]) for b in found["reliability"] if b["n"]]
    assert scores["diagnosis_ece"]["value"] == pytest.approx(sum(gaps)) == found["ece"]


def test_tables_hold_every_case(tmp_path):
    cases = [photo_case(i) for i in range(4)]
    cases[1][1]["reference_diagnosis"] = torch.tensor(-1)
    run(tmp_path, cases)
    table = pd.read_csv(tmp_path / "predictions.csv", keep_default_na=False).set_index("case")
    assert list(table.columns) == [
        *("group", "reference_diagnosis", "predicted_diagnosis"),
        *(f"p_diagnosis_{name}" for name in NAMES),
        *("dice", "jaccard"),
    ]
    assert table.loc["image_01", "reference_diagnosis"] == "" and table.loc["image_01", "group"] == "lesion_0"
    for batch, output in cases:
        row = table.loc[batch["case"]]
        np.testing.assert_allclose(list(row[table.columns[3:6]]), output["predicted_diagnosis"], rtol=1e-6)
        assert row["predicted_diagnosis"] == NAMES[int(output["predicted_diagnosis"].argmax())]
    rows = pd.read_csv(tmp_path / "metrics.csv")
    assert list(rows.columns[:5]) == ["case", "task", "structure", "metric", "value"]
    assert set(rows.loc[rows["case"] == "image_01", "metric"]) == {"dice", "jaccard"}
    assert set(rows.loc[rows["case"] == "image_00", "metric"]) == {
        *("dice", "jaccard", "correct", "confidence", "probability")
    }


def test_intervals_draw_lesions_and_not_images(tmp_path):
    alone = [photo_case(i) for i in range(12)]
    copies = [({**batch, "case": f"{batch['case']}_{k}"}, output) for batch, output in alone for k in range(5)]
    for batch, _ in alone:
        batch["group"] = batch["case"]
    for batch, _ in copies:
        batch["group"] = batch["case"].rsplit("_", 1)[0]
    single = scores_of(run(tmp_path / "a", alone))
    # Five pictures of each lesion tell no more about other lesions than one.
    assert scores_of(run(tmp_path / "b", copies))["dice"]["low"] == pytest.approx(single["dice"]["low"], abs=1e-9)
    for batch, _ in copies:
        batch.pop("group")
    summary = run(tmp_path / "c", copies)
    assert scores_of(summary)["dice"]["low"] > single["dice"]["low"] + 1e-4
    assert summary["cases_without_group"] == 60
    assert "60 of 60 cases do not say" in " ".join((tmp_path / "c" / "report.html").read_text().split())


def test_page_says_phantom_and_why_each_case_is_shown(tmp_path, caplog):
    cases = [photo_case(i) for i in range(30)]
    cases[0][0]["case"] = "<script>x"
    with caplog.at_level("INFO", LOGGER):
        summary = run(tmp_path, cases, phantom=True, max_figures=6, details={"split": "<test>"})
    page = (tmp_path / "report.html").read_text()
    assert "PHANTOM RESULT" in page and "<script" not in page and "<link" not in page and "&lt;test&gt;" in page
    assert page.count("data:image/png;base64,") == 3 + 6
    table = pd.read_csv(tmp_path / "predictions.csv").set_index("case")
    titles = re.findall(r"<h3>(\S+) <span class=\"soft\">\(lesion \S+; ([^<]*)\)</span>", page)
    reasons = {why.split(" (")[0].split(":")[0]: case for case, why in titles}
    assert reasons["lowest Dice"] == table["dice"].idxmin() and reasons["highest Dice"] == table["dice"].idxmax()
    confidence = table.filter(like="p_").max(axis=1)
    right = table["reference_diagnosis"] == table["predicted_diagnosis"]
    assert reasons["most confidently wrong diagnosis"] == confidence[~right].idxmax()
    assert reasons["most confidently right diagnosis"] == confidence[right].idxmax()
    assert len(titles) == 6 and "2nd lowest Dice" in reasons
    (record,) = (r for r in caplog.records if r.name == LOGGER)
    assert "PHANTOM" in record.message and "balanced accuracy" in record.message and summary["phantom"] is True


@pytest.mark.parametrize("architecture", ["hps", "stl"])
def test_volumes_with_saliency(tmp_path, architecture):
    tasks = {task: {"kind": "classification", "out_channels": 2} for task in STOIC}
    network = make_network(
        architecture, tasks=tasks, spatial_dims=3, in_channels=1, channels=[4, 8], norm=["GROUP", {"num_groups": 2}]
    )
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    classes = {task: STOIC[task] for task in network.tasks}
    cases = [scan_case(i, i % 2, i % 4 // 2 if i % 2 else -1) for i in range(16)]
    options = {"image_key": "image", "unit": "patient", "network": network, "max_figures": 3}
    with torch.no_grad():
        summary = run(tmp_path, cases, classes, None, **options)
    assert network.training and all(p.grad is None for p in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks or module._backward_hooks for module in network.modules())
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3 * len(classes) + 3 and "Grad-CAM" in page
    assert {"covid_roc_auc", "covid_accuracy", "covid_sensitivity", "covid_specificity"} <= set(scores_of(summary))


def test_severity_is_of_the_positive_patients_and_the_page_says_so(tmp_path):
    cases = [scan_case(i, i % 2, i % 4 // 2 if i % 2 else -1) for i in range(24)]
    summary = run(tmp_path, cases, STOIC, None, image_key="image", unit="patient")
    assert summary["labelled"] == {"covid": 24, "severity": 12}
    assert summary["classification"]["severity"]["known_only_where"] == "covid: positive"
    assert summary["classification"]["covid"]["known_only_where"] is None
    positive = [output for _, output in cases if output["reference_covid"] == 1]
    labels = [int(output["reference_severity"]) for output in positive]
    scores = scores_of(summary)
    expected = roc_auc_score(labels, [float(output["predicted_severity"][1]) for output in positive])
    assert scores["severity_roc_auc"]["value"] == pytest.approx(expected)
    severe = [float(o["predicted_severity"][1]) > 0.5 for o in positive if o["reference_severity"] == 1]
    assert scores["severity_sensitivity"]["value"] == pytest.approx(np.mean(severe))
    assert "All of these are “covid: positive”" in (tmp_path / "report.html").read_text()


def test_scores_that_are_not_defined_are_named(tmp_path):
    cases = [scan_case(i, 0) for i in range(4)]
    summary = run(tmp_path, cases, STOIC, None, image_key="image")
    assert set(scores_of(summary)) == {"covid_accuracy", "covid_specificity", "covid_ece"}
    assert "Covid: ROC AUC" in summary["not_defined"] and "Severity: accuracy" in summary["not_defined"]
    assert "Not defined, for want of references: Covid: ROC AUC" in (tmp_path / "report.html").read_text()


def test_segmentation_alone(tmp_path):
    summary = run(tmp_path, [photo_case(i) for i in range(5)], classes={}, max_figures=8)
    assert set(scores_of(summary)) == {"dice", "jaccard"} and "classification" not in summary
    assert (tmp_path / "report.html").read_text().count("data:image/png;base64,") == 5


def test_bad_cases_are_named(tmp_path):
    _, output = photo_case(0)
    unknown = {
        "reference_diagnosis": torch.tensor(-1),
        "reference_segmentation": torch.full((1, 60, 40), torch.nan),
    }
    for changes, message in (
        (unknown, "image_00: no reference for segmentation or diagnosis"),
        ({"predicted_diagnosis": torch.tensor([0.5, torch.nan, 0.5])}, "image_00: 'predicted_diagnosis' holds NaN"),
        ({"predicted_diagnosis": torch.tensor([2.0, -3.0, 0.5])}, "image_00: predicted_diagnosis is no probability"),
        ({"predicted_diagnosis": torch.tensor([0.5, 0.5])}, "image_00: predicted_diagnosis has 2 values"),
        ({"predicted_diagnosis": None}, "image_00: no predicted_diagnosis"),
        ({"reference_diagnosis": torch.tensor(3)}, "image_00: reference_diagnosis is 3"),
        ({"predicted_segmentation": torch.zeros(1, 6, 6)}, "image_00: 'reference_segmentation' has shape"),
        (
            {"predicted_segmentation": torch.full((1, 60, 40), torch.nan)},
            "image_00: 'predicted_segmentation' holds NaN",
        ),
        ({"photo": torch.zeros(60, 40)}, "image_00: 'photo' must be a picture"),
    ):
        with pytest.raises(DataError, match=message):
            run(tmp_path, [photo_case(0, **changes)])
    with pytest.raises(DataError, match="image_00: evaluated twice"):
        run(tmp_path, [photo_case(0), photo_case(0)])
    with pytest.raises(DataError, match="no key 'case'"):
        run(tmp_path, [({}, output)])
    with pytest.raises(ConfigError, match="grade: a classification needs two classes"):
        ClassificationSection("grade", ["only"])


def test_a_run_that_breaks_leaves_what_was_scored_and_no_earlier_page(tmp_path):
    run(tmp_path, [photo_case(i) for i in range(3)])
    broken = photo_case(7, predicted_diagnosis=torch.full((3,), torch.nan))
    with pytest.raises(DataError, match="image_07"):
        run(tmp_path, [photo_case(4), photo_case(5), photo_case(6), broken])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cases.csv", "metrics.csv", "predictions.csv"]
    assert list(pd.read_csv(tmp_path / "predictions.csv")["case"]) == ["image_04", "image_05", "image_06"]


def test_disk_stays_flat_over_many_images(tmp_path):
    report = Report(tmp_path, sections_of(), image_key="photo", max_figures=4)
    report.start(Engine(lambda *_: None))
    for i in range(120):
        batch, output = photo_case(i % 60)
        report.score_case({**batch, **output, "case": f"c{i}"})
        files = list(Path(report.pictures.folder.name).iterdir())
        assert len(files) == len(report.pictures.kept) <= 4 * 4
