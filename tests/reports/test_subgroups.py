# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, recall_score, roc_auc_score

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.reports.subgroups import subgroup_scores
from ctan_networks.tools.commands import subgroups

NAMES = ["mel", "nv", "bcc"]


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr("ctan_networks.reports.subgroups.RESAMPLES", 100)


@pytest.fixture
def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    p = rng.dirichlet(np.ones(3), 300) + 0.3 * np.eye(3)[labels]
    p /= p.sum(1, keepdims=True)
    predictions = pd.DataFrame({"case": [f"c{k}" for k in range(300)], "group": [f"g{k // 2}" for k in range(300)]})
    predictions["reference_diagnosis"] = np.array(NAMES, object)[labels]
    for k, name in enumerate(NAMES):
        predictions[f"p_diagnosis_{name}"] = p[:, k]
    predictions.loc[:4, "reference_diagnosis"] = None
    # Two cases have no row, two no age.
    attributes = pd.DataFrame({"image_id": [f"c{k}" for k in range(298)][::-1]})
    attributes["sex"] = rng.choice(["female", "male"], 298)
    attributes["age"] = rng.choice([20.0, 45.0, 59.0, 80.0], 298)
    attributes.loc[:1, "age"] = np.nan
    return predictions, attributes


def test_each_subgroup_is_scored_as_scikit_learn_scores_it(tables):
    predictions, attributes = tables
    rows = subgroup_scores(predictions, attributes, "diagnosis", ["sex", "age"], "image_id", [45, 60], "mel")
    assert list(rows["value"]) == ["", "female", "male", "unknown", "< 45", "45 to 60", ">= 60", "unknown"]
    joined = predictions[predictions["reference_diagnosis"].notna()].merge(
        attributes, left_on="case", right_on="image_id", how="left"
    )
    part = joined[(joined["age"] >= 45) & (joined["age"] < 60)]
    row = rows.set_index("value").loc["45 to 60"]
    p = part[[f"p_diagnosis_{name}" for name in NAMES]].to_numpy()
    labels = part["reference_diagnosis"].map(NAMES.index).to_numpy()
    assert row["cases"] == len(part) and row["groups"] == part["group"].nunique()
    assert row["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, p.argmax(1)))
    assert row["recall"] == pytest.approx(recall_score(labels, p.argmax(1), labels=[0], average="macro"))
    wanted = np.mean([roc_auc_score(labels == k, p[:, k]) for k in range(3)])
    assert row["roc_auc"] == pytest.approx(wanted)
    assert row["roc_auc_low"] < row["roc_auc"] < row["roc_auc_high"]
    assert rows[rows["attribute"] == "sex"]["cases"].sum() == rows[rows["attribute"] == "age"]["cases"].sum() == 295


def test_the_command_reads_and_writes_tables(tables, tmp_path):
    for name, table in zip(("predictions", "attributes"), tables, strict=True):
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    files = [str(tmp_path / f"{name}.csv") for name in ("predictions", "attributes")]
    text = subgroups(*files, by="sex,age", edges=[45, 60], watched="mel", output=str(tmp_path / "out.csv"))
    direct = subgroup_scores(*tables, "diagnosis", ["sex", "age"], "image_id", [45, 60], "mel")
    assert text.count("\n") == 1 + len(direct) and "recall of mel" in text
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "out.csv").drop(columns="value"), direct.drop(columns="value"), check_dtype=False
    )


def test_what_does_not_fit_is_said(tables):
    predictions, attributes = tables
    with pytest.raises(ConfigError, match="no task 'severity'"):
        subgroup_scores(predictions, attributes, "severity", ["sex"], "image_id")
    with pytest.raises(ConfigError, match="no column site"):
        subgroup_scores(predictions, attributes, "diagnosis", ["site"], "image_id")
    with pytest.raises(ConfigError, match="no class 'df'"):
        subgroup_scores(predictions, attributes, "diagnosis", ["sex"], "image_id", watched="df")
    with pytest.raises(DataError, match="names c297 twice"):
        subgroup_scores(predictions, pd.concat([attributes, attributes[:3]]), "diagnosis", ["sex"], "image_id")
    with pytest.raises(DataError, match="no case has a known"):
        subgroup_scores(predictions[:5], attributes, "diagnosis", ["sex"], "image_id")
