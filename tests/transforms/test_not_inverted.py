# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, Resized

from ctan_networks.transforms import NotInverted


def traced(d):
    """An intensity step that leaves a trace, as NormalizeIntensity does since MONAI 1.7."""
    image = d["image"] * 0.5 - 1
    image.applied_operations = [*d["image"].applied_operations, {"class": "NormalizeIntensity", "id": 0}]
    return {**d, "image": image}


def test_predictions_are_resized_back_and_not_denormalised():
    steps = Compose([Resized("image", (4, 4), mode="bilinear"), NotInverted(traced)])
    case = steps({"image": MetaTensor(torch.arange(64.0).reshape(1, 8, 8))})
    assert [operation["class"] for operation in case["image"].applied_operations] == ["Resize"]
    probability = MetaTensor(torch.full((1, 4, 4), 0.2), applied_operations=list(case["image"].applied_operations))
    back = Invertd("mask", steps, orig_keys="image", nearest_interp=False)({**case, "mask": probability})["mask"]
    assert back.shape == (1, 8, 8) and torch.allclose(back.as_tensor(), torch.tensor(0.2))
