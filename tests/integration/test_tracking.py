# SPDX-License-Identifier: Apache-2.0
"""``--tracking mlflow``: one run with training, validation and the evaluation's report."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from ctan_networks.datasets.ham10000.phantoms import ham10000_cohort

mlflow = pytest.importorskip("mlflow")

NAME = "ham10000_ctan"


@pytest.fixture(scope="module")
def tracked(bundle_copy, tmp_path_factory) -> Path:
    """A training of two epochs, its evaluation on two parts, and what was tracked of them."""
    folder = tmp_path_factory.mktemp("tracked")
    small = {"network_def#channels": [16, 16, 16], "tracking": "mlflow"}
    bundle = bundle_copy(NAME, small, {"epochs": 2, "batch_size": 8, "weighting": "uncertainty"})
    data = ham10000_cohort(folder / "data", lesions=24)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        bundle.train(data, folder / "run")
        for split in ("validation", "test"):
            bundle.evaluate(data, folder / "run", split=split)
    assert not list(folder.glob("mlruns*")), "everything lies under output_dir"
    return folder / "run"


def test_one_run_holds_training_validation_and_report(tracked):
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tracked / 'mlruns.db'}")
    experiment = client.get_experiment_by_name("monai_experiment")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED" and run.info.run_name == "phantom_ctan"

    def history(name: str) -> list[tuple[int, float]]:
        return sorted((m.step, m.value) for m in client.get_metric_history(run.info.run_id, name))

    written = pd.read_csv(tracked / "history.csv")
    for name in ("loss_segmentation", "loss_diagnosis", "weight_segmentation", "weight_diagnosis", "dice", "score"):
        rows = written[written["name"] == name]
        assert len(rows) == 2
        assert history(name) == [(e, pytest.approx(v)) for e, v in zip(rows["epoch"], rows["value"], strict=True)]
    steps = history("train_loss")
    assert [step for step, _ in steps] == list(range(1, len(steps) + 1)) and len(steps) >= 4
    for split in ("validation", "test"):
        folder = f"evaluation_{split}"
        summary = json.loads((tracked / folder / "summary.json").read_text())
        dice = next(s["value"] for s in summary["scores"] if s["name"] == "dice")
        ((_, logged),) = history(f"{folder}/dice")
        assert logged == pytest.approx(dice)
        names = {Path(a.path).name for a in client.list_artifacts(run.info.run_id, folder)}
        assert {"report.html", "summary.json", "metrics.csv"} <= names
        local = client.download_artifacts(run.info.run_id, f"{folder}/report.html")
        assert Path(local).read_bytes() == (tracked / folder / "report.html").read_bytes()
