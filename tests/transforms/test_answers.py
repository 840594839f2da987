# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest
import torch
from monai.data import MetaTensor

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.transforms import SaveProbabilityJSONd

KEYS = ["predicted_covid", "predicted_severity"]
FILES = ["probability-covid-19.json", "probability-severe-covid-19.json"]


def test_one_number_a_file(tmp_path):
    data = {
        "case": "12/a",
        "predicted_covid": MetaTensor(torch.tensor([0.25, 0.75])),
        "predicted_severity": torch.tensor([0.9, 0.1]),
    }
    assert SaveProbabilityJSONd(KEYS, tmp_path, FILES)(data) == data
    folder = tmp_path / "12_a"
    assert sorted(p.name for p in folder.iterdir()) == FILES
    assert json.loads((folder / FILES[0]).read_text()) == 0.75
    assert json.loads((folder / FILES[1]).read_text()) == pytest.approx(0.1)
    SaveProbabilityJSONd(KEYS[1], tmp_path, FILES[1], index=0)(data)
    assert json.loads((folder / FILES[1]).read_text()) == pytest.approx(0.9)


def test_a_missing_task(tmp_path):
    data = {"case": "a", "predicted_covid": torch.tensor([0.5, 0.5])}
    with pytest.raises(KeyError):
        SaveProbabilityJSONd(KEYS, tmp_path, FILES)(data)
    SaveProbabilityJSONd(KEYS, tmp_path, FILES, allow_missing_keys=True)(data)
    assert [p.name for p in (tmp_path / "a").iterdir()] == FILES[:1]


@pytest.mark.parametrize("values", [[0.2, float("nan")], [-3.0, 4.0], [1.0], []])
def test_what_is_no_probability_is_not_written(tmp_path, values):
    with pytest.raises(DataError, match="case a: predicted_covid has no probability"):
        SaveProbabilityJSONd(KEYS[0], tmp_path, FILES[0])({"case": "a", "predicted_covid": torch.tensor(values)})
    assert not list(tmp_path.rglob("*.json"))


def test_rounding_of_a_softmax_is_cut(tmp_path):
    SaveProbabilityJSONd(KEYS[0], tmp_path, "p.json")({"case": "a", "predicted_covid": torch.tensor([-1e-7, 1 + 1e-6])})
    assert json.loads((tmp_path / "a" / "p.json").read_text()) == 1.0


@pytest.mark.parametrize("filenames", [FILES[:1], [FILES[0]] * 2, ["a.json", "../b.json"]])
def test_wrong_file_names(tmp_path, filenames):
    with pytest.raises(ConfigError, match="2 keys"):
        SaveProbabilityJSONd(KEYS, tmp_path, filenames)
