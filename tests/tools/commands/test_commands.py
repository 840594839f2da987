# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.tools.commands import constant_dose, phantoms, trivial_scores


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return Path(phantoms(str(tmp_path_factory.mktemp("cohort")), train=2, validation=2))


def read(patient: Path, name: str) -> pd.Series:
    table = pd.read_csv(patient / f"{name}.csv", index_col=0)
    return table["data"].fillna(1.0)


def test_trivial_scores_against_pandas(cohort):
    scores = trivial_scores(str(cohort))
    train = sorted((cohort / "train-pats").iterdir())
    total = pd.concat([read(p, "dose") for p in train]).groupby(level=0).sum()
    count = pd.concat([read(p, "possible_dose_mask") for p in train]).groupby(level=0).sum()
    mean = (total / count).dropna()
    zero, guess = [], []
    for patient in sorted((cohort / "validation-pats").iterdir()):
        dose, mask = read(patient, "dose"), read(patient, "possible_dose_mask")
        zero.append(dose.sum() / len(mask))
        guess.append(dose.sub(mean.reindex(mask.index).dropna(), fill_value=0).abs().sum() / len(mask))
    assert scores["zero_dose_score"] == pytest.approx(np.mean(zero), abs=0.01)
    assert scores["mean_training_dose_dose_score"] == pytest.approx(np.mean(guess), abs=0.01)
    assert scores["mean_training_dose_dvh_score"] < scores["zero_dvh_score"]


def test_constant_dose_agrees_with_its_definition(bundles, cohort, tmp_path):
    options = {"cache_dir": str(tmp_path / "cache"), "num_workers": 0}
    found = constant_dose(str(bundles / "openkbp_ctan"), str(cohort), **options)

    def possible(split: str) -> list[np.ndarray]:
        patients = sorted((cohort / f"{split}-pats").iterdir())
        inside = [read(p, "possible_dose_mask").index for p in patients]
        return [read(p, "dose").reindex(k).fillna(0).to_numpy() for p, k in zip(patients, inside, strict=True)]

    mean = np.mean([dose.mean() for dose in possible("train")])
    assert found["mean_share_of_prescription"] == pytest.approx(mean / 70, abs=1e-4)
    errors = [np.abs(dose - mean).mean() for dose in possible("validation")]
    assert found["constant_dose_score"] == pytest.approx(np.mean(errors), abs=0.01)


def test_trivial_scores_name_what_is_missing(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        trivial_scores(str(tmp_path / "nowhere"))


def test_commands_run_from_the_command_line(tmp_path):
    root = str(Path(__file__).resolve().parents[3])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "ctan_networks", "trivial_scores", str(tmp_path / "nowhere")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"PYTHONPATH": root},
    )
    assert done.returncode != 0
    assert done.stderr.strip().splitlines()[-1].startswith("ERROR: ") and "nowhere" in done.stderr


def test_phantoms_of_each_data_set(tmp_path):
    assert (Path(phantoms(str(tmp_path / "h"), dataset="ham10000", lesions=21)) / "HAM10000_metadata.csv").is_file()
    assert (Path(phantoms(str(tmp_path / "s"), dataset="stoic", patients=4)) / "metadata" / "reference.csv").is_file()
    assert (Path(phantoms(str(tmp_path / "p"), dataset="prostate", patients=1)) / "P001").is_dir()
    with pytest.raises(ConfigError, match="openkbp, prostate, ham10000, stoic"):
        phantoms(str(tmp_path), dataset="mnist")
    with pytest.raises(ConfigError, match="patients"):
        phantoms(str(tmp_path), dataset="openkbp", patients=3)
