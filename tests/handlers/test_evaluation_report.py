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
from ctan_networks.handlers.evaluation_report import EvaluationReport

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


def run(folder, cases: list[tuple[dict, dict]], tasks=("segmentation", "dose"), **options) -> dict:
    def step(engine, index):
        engine.state.batch, output = [cases[index][0]], [cases[index][1]]
        return output

    engine = Engine(step)
    EvaluationReport(folder, tasks, STRUCTURES, image_key="ct", **options).attach(engine)
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
    with pytest.raises(ConfigError, match="grade"):
        EvaluationReport(tmp_path, ["grade"], STRUCTURES)


def test_what_was_scored_is_not_lost_when_a_case_breaks(tmp_path):
    broken = case("b", 1, predicted_dose=torch.zeros(1, 3, 3, 3))
    with pytest.raises(DataError, match="b"):
        run(tmp_path, [case("a", 0), broken])
    assert set(pd.read_csv(tmp_path / "metrics.csv")["case"]) == {"a"}
