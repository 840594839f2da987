# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.reports.report import Report
from ctan_networks.reports.section import Case
from ctan_networks.reports.sections.dose import DoseSection
from ctan_networks.reports.sections.segmentation import SegmentationSection

STRUCTURES = ["Cord", "Parotid", "PTV70"]
AFFINE = np.array([[0.0, -4.0, 0, 0], [-4, 0, 0, 0], [0, 0, -2.5, 0], [0, 0, 0, 1]])


def case(name: str, seed: int, **changes) -> tuple[dict, dict]:
    """What MONAI's evaluator has of one case: (batch, output)."""
    rng = np.random.default_rng(seed)
    shape = (12, 14, 10)
    ct = np.full((1, *shape), -1024.0)
    ct[:, 2:10, 2:12, 1:9] = 20.0
    mask = (ct > -500).astype(np.float32)
    masks = np.zeros((3, *shape), np.float32)
    masks[0, 4:6, 4:6, 2:8] = 1
    masks[1] = np.nan
    masks[2, 6:9, 6:10, 3:7] = 1
    dose = (rng.uniform(0, 70, (1, *shape)) * mask).astype(np.float32)
    output = {
        "reference_segmentation": torch.from_numpy(masks),
        "predicted_segmentation": torch.from_numpy(np.roll(np.nan_to_num(masks), 1, axis=1)),
        "reference_dose": torch.from_numpy(dose),
        "predicted_dose": MetaTensor(torch.from_numpy(dose * 0.9 + 1), affine=AFFINE),
        "reference_mask": torch.from_numpy(mask),
    }
    return {"case": name, "ct": MetaTensor(torch.from_numpy(ct), affine=AFFINE)}, output | changes


ASKED = ("plan_metrics", "goals", "gamma", "prescription", "prescription_key")


def run(folder, cases: list[tuple[dict, dict]], tasks=("segmentation", "dose"), **options) -> dict:
    def step(engine, index):
        engine.state.batch, output = [cases[index][0]], [cases[index][1]]
        return output

    engine = Engine(step)
    asked = {key: options.pop(key) for key in ASKED if key in options}
    sections = [
        SegmentationSection("segmentation", STRUCTURES, ["dice", "volume_cc"], prefix=""),
        DoseSection("dose", STRUCTURES, **asked),
    ]
    options = {"image_key": "ct", "rank_by": ["dose_score", "mean_dice"], "resamples": 1000, "max_figures": 1} | options
    Report(folder, sections, tasks, **options).attach(engine)
    engine.run(range(len(cases)))
    return json.loads((folder / "summary.json").read_text())


def test_numbers_follow_the_definitions(tmp_path):
    cases = [case("a", 0), case("b", 1)]
    summary = run(tmp_path, cases)
    rows = pd.read_csv(tmp_path / "metrics.csv")
    wanted = []
    for batch, output in cases:
        mask = output["reference_mask"].numpy()
        reference, predicted = output["reference_dose"].numpy(), output["predicted_dose"].numpy() * mask
        wanted.append(np.abs(reference - predicted).sum() / mask.sum())
        own = rows[rows["case"] == batch["case"]]
        assert own.query("metric == 'dose_score'")["value"].item() == pytest.approx(wanted[-1], rel=1e-5)
        target = output["reference_segmentation"][2].numpy() == 1
        d95 = own.query("structure == 'PTV70' and metric == 'D_95'").iloc[0]
        assert d95["reference"] == pytest.approx(np.percentile(reference[0][target], 5), abs=1e-4)
        assert d95["predicted"] == pytest.approx(np.percentile(predicted[0][target], 5), abs=1e-4)
        assert d95["value"] == pytest.approx(abs(d95["reference"] - d95["predicted"]))
        cord = np.zeros((12, 14, 10), bool)
        cord[4:6, 4:6, 2:8] = True
        dice = 2 * (cord & np.roll(cord, 1, axis=0)).sum() / (2 * cord.sum())
        assert own.query("structure == 'Cord' and metric == 'dice'")["value"].item() == pytest.approx(dice)
        assert own.query("structure == 'Parotid'")["value"].isna().all(), "an unknown structure has no number"
    scores = {s["name"]: s for s in summary["scores"]}
    assert scores["dose_score"]["value"] == pytest.approx(np.mean(wanted), rel=1e-5)
    dvh = rows.query("task == 'dose' and metric != 'dose_score'")["value"]
    assert scores["dvh_score"]["value"] == pytest.approx(np.nanmean(dvh))


def test_page_is_whole_says_phantom_and_escapes_names(tmp_path):
    run(tmp_path / "p", [case("<script>x", 0)], phantom=True)
    page = (tmp_path / "p" / "report.html").read_text()
    assert "PHANTOM RESULT" in page and "<script>x" not in page and "&lt;script&gt;x" in page
    assert page.count("data:image/png;base64,") >= 2 and "http://" not in page.replace("http://www.w3.org", "")
    run(tmp_path / "r", [case("a", 0)])
    assert "PHANTOM" not in (tmp_path / "r" / "report.html").read_text()


def test_one_task_is_enough_and_missing_predictions_are_named(tmp_path):
    batch, output = case("a", 0)
    dose_only = {k: v for k, v in output.items() if k != "predicted_segmentation"}
    summary = run(tmp_path, [(batch, dose_only)], tasks=["dose"])
    assert {s["name"] for s in summary["scores"]} == {"dose_score", "dvh_score"}
    with pytest.raises(DataError, match="a: no predicted_segmentation"):
        run(tmp_path, [(batch, dose_only)])
    with pytest.raises(ConfigError, match="one section for each task .grade"):
        run(tmp_path, [(batch, output)], tasks=["grade"])


def test_what_was_scored_is_not_lost_when_a_case_breaks(tmp_path):
    broken = case("b", 1, predicted_dose=torch.zeros(1, 3, 3, 3))
    with pytest.raises(DataError, match="b"):
        run(tmp_path, [case("a", 0), broken])
    assert set(pd.read_csv(tmp_path / "metrics.csv")["case"]) == {"a"}


def test_segmentation_alone_and_unprescribed_target(tmp_path):
    batch, output = case("a", 0)
    masks = {k: output[k].clone() for k in ("reference_segmentation", "predicted_segmentation")}
    for volume in masks.values():
        volume[2] = 0
    summary = run(tmp_path, [(batch, masks)], tasks=["segmentation"])
    assert {s["name"] for s in summary["scores"]} == {"mean_dice"} and "dvh" not in summary
    assert {d["structure"]: d["n"] for d in summary["dice"]} == {"Cord": 1, "Parotid": 0, "PTV70": 0}
    assert summary["dice"][1]["mean"] is None, "NaN is null"
    assert "DVH" not in (tmp_path / "report.html").read_text()


def test_dose_outside_the_mask_counts_only_where_the_reference_has_it(tmp_path):
    batch, output = case("a", 0)
    hot = output["predicted_dose"].clone()
    hot[output["reference_mask"] == 0] = 50
    summary = run(tmp_path / "hot", [(batch, output | {"predicted_dose": hot})])
    plain = run(tmp_path / "plain", [(batch, output)])
    assert summary["scores"] == plain["scores"] and summary["dvh"] == plain["dvh"]
    half = output["reference_mask"].clone()
    half[:, :8] = 0  # two thirds of the target are outside
    rows = {d["structure"] + d["metric"]: d for d in run(tmp_path / "half", [(batch, output | {"mask": half})])["dvh"]}
    assert rows["PTV70D_95"]["predicted"] == 0 < rows["PTV70D_95"]["reference"]


def test_a_mask_made_from_the_ct_is_told(tmp_path):
    batch, output = case("a", 0)
    without = {k: v for k, v in output.items() if k != "reference_mask"}
    assert run(tmp_path / "without", [(batch, without)])["cases_without_dose_mask"] == 1
    assert "no mask of possible dose" in (tmp_path / "without" / "report.html").read_text()
    assert (
        run(tmp_path / "with", [(batch, without | {"mask": output["reference_mask"]})])["cases_without_dose_mask"] == 0
    )
    assert "no mask of possible dose" not in (tmp_path / "with" / "report.html").read_text()


def test_bad_cases_are_named(tmp_path):
    batch, output = case("a", 0)
    broken = output["predicted_dose"].clone()
    broken[0, 5, 5, 5] = float("nan")
    nothing = {k: torch.full_like(v, float("nan")) if k.startswith("reference_") else v for k, v in output.items()}
    for changes, message in (
        ({"predicted_dose": broken}, "a: 'predicted_dose' holds NaN"),
        (nothing, "a: no reference"),
        (
            {"predicted_segmentation": output["predicted_segmentation"][:2]},
            r"a: 'predicted_segmentation' has shape \[2,",
        ),
    ):
        with pytest.raises(DataError, match=message):
            run(tmp_path, [(batch, output | changes)])
    with pytest.raises(DataError, match="a: evaluated twice"):
        run(tmp_path, [(batch, output), (batch, output)])
    with pytest.raises(DataError, match="a: 'ct' must be a MetaTensor"):
        run(tmp_path, [({"case": "a", "ct": batch["ct"].as_tensor()}, output)])


def test_an_earlier_report_does_not_outlive_its_numbers(tmp_path):
    run(tmp_path, [case("a", 0)])
    with pytest.raises(DataError):
        run(tmp_path, [case("b", 0), case("c", 1, predicted_dose=torch.zeros(1, 3, 3, 3))])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cases.csv", "metrics.csv"]


def test_number_of_figures_learning_curves_and_log(tmp_path, caplog):
    history = tmp_path / "history.csv"
    history.write_text("epoch,name,value\n1,loss_dose,0.5\n2,loss_dose,0.4\n")
    cases = [case(f"case_{i}", i) for i in range(4)]
    with caplog.at_level("INFO", "ctan_networks.reports.report"):
        run(tmp_path / "r", cases, max_figures=1, history=history, phantom=True, details={"split": "<test> & more"})
    page = (tmp_path / "r" / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3, "slices and DVH of one case, learning curves"
    assert "<script" not in page and "<link" not in page and "&lt;test&gt; &amp; more" in page
    (record,) = (r for r in caplog.records if r.name == "ctan_networks.reports.report")
    assert "PHANTOM" in record.message and "Dose score" in record.message and "report.html" in record.message
    assert "case_" not in record.message.split("Report:")[0]


GOALS = [
    {"structure": "PTV70", "metric": "D_2", "max": "92 %", "source": "<b>protocol</b>"},
    {"structure": "Cord", "metric": "V_30", "max": "1.2 cc"},
    {"structure": "Parotid", "metric": "mean", "max": "26 Gy"},
]


def test_plan_metrics_goals_and_gamma_of_both_doses(tmp_path):
    pytest.importorskip("pymedphys")
    cases = [case("a", 0), case("b", 1, prescription=torch.tensor([60.0]))]
    options = {"plan_metrics": True, "goals": GOALS, "prescription": 70.0, "gamma": {"normalisation": "prescription"}}
    summary = run(tmp_path / "all", cases, **options)
    rows = pd.read_csv(tmp_path / "all" / "metrics.csv").set_index(["case", "structure", "metric"])
    met = []
    for (batch, output), gray in zip(cases, (70, 60), strict=True):
        doses = (
            output["reference_dose"][0].numpy(),
            output["predicted_dose"][0].numpy() * output["reference_mask"][0].numpy(),
        )
        target = output["reference_segmentation"][2].numpy() == 1
        cord = output["reference_segmentation"][0].numpy() == 1
        d_2 = [np.percentile(dose[target], 98) for dose in doses]
        row = rows.loc[batch["case"], "PTV70", "D_2"]
        assert [row["reference"], row["predicted"]] == pytest.approx(d_2, rel=1e-5)
        assert row["value"] == pytest.approx(abs(d_2[0] - d_2[1]), rel=1e-4) and row["task"] == "plan"
        row = rows.loc[batch["case"], "Cord", "V_30_cc"]
        cc = [(dose[cord] >= 30).sum() * 0.04 for dose in doses]
        assert [row["reference"], row["predicted"]] == pytest.approx(cc)
        index = [(np.percentile(d[target], 98) - np.percentile(d[target], 2)) / np.median(d[target]) for d in doses]
        row = rows.loc[batch["case"], "PTV70", "HI"]
        assert [row["reference"], row["predicted"]] == pytest.approx(index, rel=1e-4)
        hot = doses[0] * output["reference_mask"][0].numpy() >= 0.95 * gray
        conformity = (hot & target).sum() ** 2 / (hot.sum() * target.sum())
        assert rows.loc[batch["case"], "PTV70", "CI_95%"]["reference"] == pytest.approx(conformity)
        met.append([[d <= 0.92 * gray for d in d_2], [c <= 1.2 for c in cc]])
        row = rows.loc[batch["case"], "PTV70", "D_2 <= 92 %"]
        assert [row["reference"], row["predicted"]] == met[-1][0] and row["task"] == "goal"
    met = np.array(met)
    assert met.any() and not met.all() and (met[..., 0] != met[..., 1]).any(), "goals that tell the doses apart"
    for k, goal in enumerate(summary["goals"][:2]):
        assert [goal["n"], goal["reference_met"], goal["predicted_met"]] == [2, *met[:, k].sum(0)]
        assert goal["agree"] == (met[:, k, 0] == met[:, k, 1]).sum()
    assert [summary["goals"][2][key] for key in ("structure", "n", "agree")] == ["Parotid", 0, 0]
    assert summary["plan_cases"][0]["goals"][2]["reference_met"] is None
    rates = [rows.loc[name, np.nan, "gamma_3%_3mm"]["value"] for name in "ab"]
    assert summary["gamma"]["mean"] == pytest.approx(np.mean(rates)) and 10 < np.mean(rates) < 100
    page = (tmp_path / "all" / "report.html").read_text()
    assert "D_2 ≤ 92 %" in page and "&lt;b&gt;protocol" in page and "normalisation = prescription" in page
    assert page.count("✓") + page.count("✗") == 8 + 2, "two doses, two known goals, two patients; the legend"


def test_questions_of_the_plan_change_nothing_else(tmp_path):
    cases = [case("a", 0), case("b", 1)]
    plain = run(tmp_path / "plain", cases)
    asked = run(tmp_path / "asked", cases, plan_metrics=True, goals=GOALS[1:])
    assert {key: asked[key] for key in plain} == plain and set(asked) - set(plain) == {"plan", "goals", "plan_cases"}
    rows = pd.read_csv(tmp_path / "asked" / "metrics.csv")
    rows = rows[~rows["task"].isin(["plan", "goal"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(rows, pd.read_csv(tmp_path / "plain" / "metrics.csv"))
    assert "CI_95%" not in {entry["metric"] for entry in asked["plan"]}, "no conformity without a prescription"
    alone = run(tmp_path / "alone", cases, tasks=["segmentation"], plan_metrics=True, goals=GOALS)
    assert not {"plan", "goals", "gamma"} & set(alone), "a network without dose has no plan"


def test_questions_that_cannot_be_answered_are_named(tmp_path):
    with pytest.raises(ConfigError, match="no structure 'Lens'"):
        DoseSection("dose", STRUCTURES, goals=[{**GOALS[1], "structure": "Lens"}])
    with pytest.raises(DataError, match="a: a goal depends on the prescription"):
        run(tmp_path, [case("a", 0)], goals=GOALS)
    with pytest.raises(DataError, match="a: 'prescribed' must be one positive dose"):
        run(tmp_path, [case("a", 0, prescribed=-1.0)], goals=GOALS, prescription_key="prescribed")
    pytest.importorskip("pymedphys")
    with pytest.raises(ConfigError, match="no setting percent; there are dose_percent, distance_mm"):
        DoseSection("dose", STRUCTURES, gamma={"percent": 3})


def test_where_the_reference_dose_is_unknown_nothing_is_compared():
    """A dose grid that ends inside the rectum: its metrics are unknown, those of the target are not."""
    shape = (10, 10, 8)
    masks = torch.zeros(2, *shape)
    masks[0, 3:7, 3:7, 1:4] = 1
    masks[1, 2:5, 2:5, 2:8] = 1
    reference = torch.full((1, *shape), 20.0)
    reference[0][masks[0] > 0] = 60
    prediction = reference + 1
    reference[..., 5:] = torch.nan
    item = {
        "image": MetaTensor(torch.zeros(1, *shape), affine=torch.diag(torch.tensor([3.0, 3.0, 3.0, 1.0]))),
        "reference_segmentation": masks,
        "reference_dose": reference,
        "predicted_dose": prediction,
        "mask": torch.ones(1, *shape),
    }
    goals = [{"structure": "Rectum", "metric": "V_10", "max": "50 %"}]
    section = DoseSection("dose", ["PTV", "Rectum"], True, goals, prescription=60.0)
    scored = Case("a", None, item)
    assert section.score(scored)
    rows = {(row.task, row.structure, row.metric): row for row in scored.rows}
    assert rows["dose", "", "dose_score"].value == pytest.approx(1)
    assert rows["dose", "PTV", "D_95"].value == pytest.approx(1) and np.isnan(rows["dose", "Rectum", "mean"].value)
    assert np.isnan(rows["plan", "Rectum", "mean"].reference)
    assert rows["plan", "PTV", "mean"].reference == pytest.approx(60)
    # All of the target, and nothing else that is known, gets 95 % of the prescription.
    assert rows["plan", "PTV", "CI_95%"].reference == pytest.approx(1)
    curves = section.keep(scored)["dvh/reference"]
    assert np.isfinite(curves[0]).all() and np.isnan(curves[1]).all()
