# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, CropForegroundd, Invertd

from ctan_networks.blocks import stack_outputs
from ctan_networks.transforms import CompleteLabelsd, DoseInGrayd, SplitOutputsd

TASKS = {
    "segmentation": {"kind": "segmentation", "out_channels": 2},
    "dose": {"kind": "regression", "out_channels": 1},
    "grade": {"kind": "classification", "out_channels": 3},
}


def outputs() -> dict[str, torch.Tensor]:
    return {"segmentation": torch.rand(2, 3, 3, 3), "dose": torch.rand(1, 3, 3, 3), "grade": torch.rand(3)}


@pytest.mark.parametrize("stacked", [False, True])
def test_split_gives_each_task_its_key(stacked):
    out = outputs()
    pred = stack_outputs({k: v[None] for k, v in out.items()}, ["segmentation"], ["dose"], ["grade"])[0]
    labels = {"dose": torch.ones(1), "mask": torch.zeros(1)}
    d = SplitOutputsd(TASKS)({"image": torch.rand(1, 3, 3, 3), "pred": pred if stacked else out, "label": labels})
    for task in TASKS:
        torch.testing.assert_close(d[f"predicted_{task}"], out[task])
    assert torch.equal(d["reference_dose"], labels["dose"]) and torch.equal(d["reference_mask"], labels["mask"])
    assert "reference_segmentation" not in d


def test_dense_outputs_go_back_to_the_images_grid():
    image = torch.zeros(1, 6, 6, 6)
    image[:, 2:5, 1:4, 2:5] = 1
    transform = Compose([CropForegroundd("image", source_key="image", margin=0, allow_smaller=True)])
    cropped = transform({"image": MetaTensor(image)})["image"]
    d = SplitOutputsd(TASKS)({"image": cropped, "pred": outputs()})
    back = Invertd(["predicted_dose"], transform, orig_keys="image")(d)["predicted_dose"]
    assert back.shape == (1, 6, 6, 6)
    torch.testing.assert_close(back[:, 2:5, 1:4, 2:5].as_tensor(), d["predicted_dose"].as_tensor())


def test_stored_predictions_pass_through():
    d = SplitOutputsd(TASKS)({"image": torch.rand(1, 2, 2), "predicted_dose": 1, "label": {"dose": 2}})
    assert d["predicted_dose"] == 1 and d["reference_dose"] == 2


def test_dose_is_in_gray_not_negative_and_inside():
    dose = torch.tensor([[-1.0, 0.5, 1.0]])
    inside = torch.tensor([[1, 1, 0]])
    assert DoseInGrayd("dose", 70.0)({"dose": dose})["dose"].tolist() == [[0.0, 35.0, 70.0]]
    assert DoseInGrayd("dose", 70.0, "body")({"dose": dose, "body": inside})["dose"].tolist() == [[0.0, 35.0, 0.0]]


def test_missing_labels_are_unknown():
    image = MetaTensor(torch.zeros(1, 2, 3, 4), affine=torch.eye(4) * 2)
    body = torch.ones(1, 2, 3, 4)
    d = CompleteLabelsd(TASKS)({"image": image, "body": body})
    assert d["segmentation"].shape == (2, 2, 3, 4) and torch.isnan(d["segmentation"]).all()
    assert d["dose"].shape == (1, 2, 3, 4) and torch.isnan(d["dose"]).all()
    assert d["grade"] == -1
    assert torch.equal(d["mask"], body)
    kept = CompleteLabelsd(TASKS)({"image": image, "dose": "given", "mask": "given"})
    assert kept["dose"] == kept["mask"] == "given"
