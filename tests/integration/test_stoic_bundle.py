# SPDX-License-Identifier: Apache-2.0
"""The STOIC bundle as its users run it, on a small phantom cohort."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ctan_networks.datasets.stoic.phantoms import stoic_cohort

NAME = "stoic_ctan"
SMALL = {
    "network_def#channels": [4, 8, 8],
    "network_def#norm": ["GROUP", {"num_groups": 2}],
    "pixdim": [9.0, 9.0, 9.0],
    "image_size": [40, 32, 40],
}

pytest.importorskip("itk")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return Path(stoic_cohort(tmp_path_factory.mktemp("cohort"), patients=20))


@pytest.fixture(scope="module")
def bundle(bundle_copy):
    return bundle_copy(NAME, small=SMALL, quick={"batch_size": 4})


@pytest.fixture(scope="module")
def trained(bundle, cohort, tmp_path_factory) -> Path:
    return bundle.train(cohort, tmp_path_factory.mktemp("run") / "ctan", epochs=2)


def reference(cohort: Path) -> pd.DataFrame:
    return pd.read_csv(cohort / "metadata" / "reference.csv", dtype={"PatientID": str}).set_index("PatientID")


def test_training_leaves_weights_history_parts_and_says_phantom(trained):
    described = json.loads((trained / "model.json").read_text())
    assert described["phantom"] is True
    assert described["pixdim"] == [9.0, 9.0, 9.0] and described["image_size"] == [40, 32, 40]
    names = set(pd.read_csv(trained / "history.csv")["name"])
    assert {"loss_covid", "loss_severity", "covid_auc", "severity_auc", "score"} <= names
    assert len(pd.read_csv(trained / "split.csv")) == 20


@pytest.mark.parametrize(
    ("architecture", "task", "tasks"),
    [
        ("mtan", None, ["covid", "severity"]),
        ("hps", None, ["covid", "severity"]),
        ("stl", None, ["covid"]),
        ("stl", "severity", ["severity"]),
    ],
)
def test_architecture_is_swapped_by_a_word(bundle, cohort, tmp_path, architecture, task, tasks):
    output = bundle.train(cohort, tmp_path / "run", architecture=architecture, task=task)
    names = set(pd.read_csv(output / "history.csv")["name"])
    assert {f"{name}_auc" for name in tasks} == {name for name in names if name.endswith("_auc")}
    summary = bundle.evaluate(cohort, output, architecture=architecture, task=task)
    parts = pd.read_csv(output / "split.csv", dtype=str).query("part == 'validation'")
    covid = reference(cohort).loc[parts["case"], "probCOVID"]
    assert summary["cases"] == (int(covid.sum()) if tasks == ["severity"] else len(covid))


def test_evaluation_agrees_with_what_inference_writes(bundle, cohort, trained, tmp_path):
    evaluation = tmp_path / "evaluation"
    # Fractions do not matter: the parts are those of the training.
    summary = bundle.evaluate(cohort, trained, evaluation_dir=str(evaluation), fractions={"train": 1.0})
    out = bundle.infer(cohort, trained, tmp_path / "out")
    table = pd.read_csv(out / "probabilities.csv", dtype={"case": str}).set_index("case")
    for case, row in table.iterrows():
        for file, column in (
            ("probability-covid-19.json", "p_covid_positive"),
            ("probability-severe-covid-19.json", "p_severity_severe"),
        ):
            assert json.loads((out / str(case) / file).read_text()) == pytest.approx(row[column], abs=1e-5)
    parts = pd.read_csv(trained / "split.csv", dtype=str).query("part == 'validation'")["case"]
    truth = reference(cohort).loc[parts]
    found = {s["name"]: s["value"] for s in summary["scores"]}
    covid = roc_auc_score(truth["probCOVID"], table.loc[parts, "p_covid_positive"])
    assert next(v for k, v in found.items() if "covid" in k and "auc" in k) == pytest.approx(covid, abs=1e-6)
    positive = truth[truth["probCOVID"] == 1]
    if positive["probSevere"].nunique() == 2:
        severe = roc_auc_score(positive["probSevere"], table.loc[positive.index, "p_severity_severe"])
        assert next(v for k, v in found.items() if "severity" in k and "auc" in k) == pytest.approx(severe, abs=1e-6)
    assert "PHANTOM" in (evaluation / "report.html").read_text()


def test_nifti_and_mha_give_the_same_answer(bundle, cohort, trained, tmp_path):
    import itk

    file = sorted((cohort / "data" / "mha").glob("*.mha"))[0]
    (tmp_path / "in").mkdir()
    itk.imwrite(itk.imread(str(file)), str(tmp_path / "in" / "a.nii.gz"))
    shutil.copy(file, tmp_path / "in" / "b.mha")
    (tmp_path / "in" / "cut.mha").write_bytes(file.read_bytes()[:4000])
    table = pd.read_csv(bundle.infer(tmp_path / "in", trained, tmp_path / "out") / "probabilities.csv")
    assert list(table["case"]) == ["a", "b"]
    values = table.filter(like="p_").to_numpy()
    np.testing.assert_allclose(values[0], values[1], atol=1e-4)


def test_what_is_wrong_with_the_data_is_listed(bundle, cohort, tmp_path, caplog):
    data = tmp_path / "data"
    shutil.copytree(cohort, data)
    files = sorted((data / "data" / "mha").glob("*.mha"))
    files[0].write_bytes(files[0].read_bytes()[:3000])
    files[1].unlink()
    table = reference(data)
    table["probCOVID"] = table["probCOVID"].astype(object)
    table.loc[files[2].stem, "probCOVID"] = "maybe"
    table.drop(index=files[3].stem).to_csv(data / "metadata" / "reference.csv")
    output = bundle.train(data, tmp_path / "run")
    parts = pd.read_csv(output / "split.csv", keep_default_na=False, dtype=str).set_index("case")
    reasons = parts.loc[parts["part"] == "unusable", "reason"]
    for file, reason in zip(files, ("cut short", "without", "'maybe'", "without a row"), strict=False):
        assert reason in reasons[file.stem]
    assert len(reasons) == 4 and "4 cases are left out" in caplog.text
