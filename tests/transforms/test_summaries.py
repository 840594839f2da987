# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from ctan_networks.errors import ConfigError
from ctan_networks.transforms import DoseSummaryd, ProbabilitySummaryd, SaveSummaryd


def test_dose_of_each_structure_by_hand():
    rng = np.random.default_rng(0)
    dose = rng.uniform(0, 70, (1, 8, 8, 4)).astype(np.float32)
    masks = np.zeros((3, 8, 8, 4), np.float32)
    masks[0, :4], masks[1, 2:6, 2:6] = 1, 1
    affine = torch.diag(torch.tensor([4.0, 4.0, 3.0, 1.0]))
    data = {
        "predicted_dose": MetaTensor(torch.from_numpy(dose), affine=affine),
        "predicted_segmentation": MetaTensor(torch.from_numpy(masks), affine=affine),
        "files": {"dose": "/somewhere/a_dose.nii.gz"},
    }
    found = DoseSummaryd("predicted_dose", ["Heart", "PTV", "Lung"])(data)["result"]["dose"]
    assert found["unit"] == "Gy" and found["file"] == "/somewhere/a_dose.nii.gz"
    assert found["maximum"] == pytest.approx(dose.max(), abs=1e-4)
    assert set(found["structures"]) == {"Heart", "PTV"}, "an empty structure has no dose"
    for k, name in enumerate(["Heart", "PTV"]):
        inside = np.sort(dose[0][masks[k] > 0].astype(np.float64))
        of = found["structures"][name]
        assert of["volume_cc"] == pytest.approx(len(inside) * 48 / 1000)
        assert of["mean"] == pytest.approx(inside.mean(), abs=1e-3)
        assert of["D_95"] == pytest.approx(np.percentile(inside, 5), abs=1e-3)
        assert of["maximum"] == pytest.approx(inside[-1], abs=1e-3)
        # 0.03 cc is less than one voxel of 48 mm^3.
        assert of["D_0.03_cc"] == pytest.approx(inside[-1], rel=0.02)
    json.dumps(found, allow_nan=False)


def test_without_a_segmentation_there_is_the_maximum_alone():
    dose = MetaTensor(torch.tensor([[[[1.0, 2.0]]]]))
    found = DoseSummaryd("predicted_dose", ["A"])({"predicted_dose": dose})["result"]["dose"]
    assert found == {"unit": "Gy", "maximum": 2.0, "file": None}
    assert "result" not in DoseSummaryd("other", ["A"], allow_missing_keys=True)({"predicted_dose": dose})


def test_probabilities_by_name():
    data = {"predicted_a": torch.tensor([0.2, 0.8]), "predicted_b": torch.tensor([0.5, 0.25, 0.25]), "result": {"x": 1}}
    noted = ProbabilitySummaryd(["predicted_a", "predicted_b"], [["no", "yes"], ["p", "q", "r"]])(data)["result"]
    assert noted == {
        "x": 1,
        "a": {"prediction": "yes", "probabilities": {"no": 0.2, "yes": 0.8}},
        "b": {"prediction": "p", "probabilities": {"p": 0.5, "q": 0.25, "r": 0.25}},
    }
    assert data["result"] == {"x": 1}
    nan = ProbabilitySummaryd("predicted_a", ["no", "yes"])({"predicted_a": torch.tensor([float("nan"), 0.1])})
    assert nan["result"]["a"] == {"prediction": "yes", "probabilities": {"no": None, "yes": 0.1}}
    with pytest.raises(ConfigError, match="2 probabilities"):
        ProbabilitySummaryd("predicted_a", ["one"])(data)
    with pytest.raises(ConfigError, match="as many lists"):
        ProbabilitySummaryd(["predicted_a", "predicted_b"], [["no", "yes"]])


@pytest.mark.parametrize(("phantom", "said"), [(True, "phantom"), (False, "patients"), (None, None)])
def test_what_the_weights_know_is_said_and_asked_for_each_case(tmp_path, phantom, said):
    weights = tmp_path / "models" / "model.pt"
    save = SaveSummaryd(tmp_path / "out", weights, tmp_path)
    weights.parent.mkdir()
    if phantom is not None:
        # Written after the transform was made: MONAI Label trains while a bundle is loaded.
        weights.with_suffix(".json").write_text(json.dumps({"phantom": phantom}))
    save({"case": "p 1", "result": {"a": 1}})
    written = json.loads((tmp_path / "out" / "p_1" / "p_1_result.json").read_text())
    assert written["a"] == 1 and written["weights"] == said
    assert "Research use only" in written["notice"]
    assert ("know nothing about patients" in written["notice"]) == (phantom is True)
    SaveSummaryd(tmp_path / "flat", weights, tmp_path, flat=True)({"case": "p 1", "result": {"a": 1}})
    assert [p.name for p in (tmp_path / "flat").iterdir()] == ["p_1_result.json"]


def test_nothing_noted_nothing_written(tmp_path):
    assert SaveSummaryd(tmp_path, "model.pt", tmp_path)({"case": "a"}) == {"case": "a"}
    assert not list(tmp_path.iterdir())
