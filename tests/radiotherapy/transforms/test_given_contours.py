# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, Orientationd

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.radiotherapy.transforms.given_contours import GivenContoursd, KeepGivenContoursd

STRUCTURES = ["cord", "low", "high", "gland"]
DOSES = {"low": 56, "high": 70}


def case() -> dict:
    contours = torch.zeros(4, 4, 3, 2)
    contours[1, :3] = 1
    contours[2, 1:] = 1
    contours[0, 0, 0] = 1
    contours[3] = torch.nan
    affine = torch.diag(torch.tensor([-2.0, 2.0, 3.0, 1.0]))
    image = MetaTensor(torch.arange(24.0).reshape(1, 4, 3, 2), affine=affine)
    return {"case": "a", "image": image, "contours": contours, "label": contours.clone()}


def test_doses_and_organs_become_channels():
    image = GivenContoursd("image", "contours", STRUCTURES, DOSES, organs=["gland", "cord"])(case())["image"]
    assert image.shape == (4, 4, 3, 2) and torch.equal(image[0].as_tensor(), torch.arange(24.0).reshape(4, 3, 2))
    # One voxel along x of the lower dose alone; the higher one covers the rest.
    assert image[1, :, 0, 0].tolist() == pytest.approx([0.8, 1.0, 1.0, 1.0])
    # Nobody drew the gland.
    assert not image[2].any() and image[3].sum() == 2
    halved = GivenContoursd("image", "contours", STRUCTURES, DOSES, unit=140)(case())["image"]
    assert halved[1, :, 0, 0].tolist() == pytest.approx([0.4, 0.5, 0.5, 0.5])


def test_the_region_of_possible_dose_comes_last():
    region = torch.zeros(1, 4, 3, 2)
    region[:, 1:3] = 1
    transform = GivenContoursd("image", "contours", STRUCTURES, DOSES, organs=["cord"], region_key="region")
    image = transform(case() | {"region": region})["image"]
    assert image.shape == (4, 4, 3, 2) and torch.equal(image[3:].as_tensor(), region)
    without = GivenContoursd("image", "contours", STRUCTURES, DOSES, organs=["cord"])(case())["image"]
    assert torch.equal(image[:3].as_tensor(), without.as_tensor())
    with pytest.raises(DataError, match=r"case a: contours of \(4, 3, 1\) voxels, image of \(4, 3, 2\)"):
        transform(case() | {"region": region[..., :1]})


def test_what_is_not_given_is_learnt():
    found = GivenContoursd("image", "contours", STRUCTURES, DOSES, label_key="label")(case())
    assert torch.equal(found["label"][0], case()["label"][0]) and found["label"][1].isnan().all()
    assert len(found["label"]) == 2 and len(found["contours"]) == 4
    kept = GivenContoursd("image", "contours", STRUCTURES, DOSES)(case())["label"]
    assert len(kept) == 4


def test_a_prediction_goes_back_to_the_files_grid():
    data = case()
    # The contours are on the grid that the image has in the end.
    turned = data | {"contours": data["contours"].flip(1)}
    chain = Compose(
        [Orientationd("image", axcodes="RAS", labels=None), GivenContoursd("image", "contours", STRUCTURES, DOSES)]
    )
    found = chain(turned)
    image = found["image"]
    assert np.diag(image.affine)[0] == 2
    found["pred"] = MetaTensor(
        image[:1].as_tensor(), meta=dict(image.meta), applied_operations=image.applied_operations
    )
    back = Invertd("pred", chain, orig_keys="image", nearest_interp=False, to_tensor=True)(found)["pred"]
    assert torch.equal(back.as_tensor(), case()["image"].as_tensor())


def test_what_was_given_stands_in_the_result():
    predicted = torch.stack([torch.full((4, 3, 2), 1.0), torch.eye(4)[:, :3, None].expand(-1, -1, 2)])
    data = case() | {"pred": predicted}
    kept = KeepGivenContoursd("pred", "contours", STRUCTURES, ["high", "low"])(data)["pred"]
    assert torch.equal(kept[1:3], data["contours"][1:3])
    assert torch.equal(kept[0], predicted[0]) and torch.equal(kept[3], predicted[1])
    del data["pred"]
    alone = KeepGivenContoursd("pred", "contours", STRUCTURES, STRUCTURES)(data)["pred"]
    assert torch.equal(alone[:3], data["contours"][:3]) and not alone[3].any()
    targets = KeepGivenContoursd("pred", "contours", STRUCTURES, ["high", "low"])(data)["pred"]
    assert targets[2].any() and not targets[0].any()


def test_errors_name_the_case_and_the_structure():
    given = GivenContoursd("image", "contours", STRUCTURES, DOSES)
    with pytest.raises(DataError, match="case a has no target"):
        given(case() | {"contours": torch.zeros(4, 4, 3, 2)})
    with pytest.raises(DataError, match="case a: contours of"):
        given(case() | {"contours": torch.ones(4, 4, 3, 3)})
    with pytest.raises(ConfigError, match="PTV cannot be given"):
        GivenContoursd("image", "contours", STRUCTURES, {"PTV": 1.0})
    with pytest.raises(ConfigError, match="above 0"):
        GivenContoursd("image", "contours", STRUCTURES, {"low": 0.0})
    with pytest.raises(ConfigError, match="bone cannot be given"):
        KeepGivenContoursd("pred", "contours", STRUCTURES, ["bone"])
    with pytest.raises(ConfigError, match="4 masks; 2 structures"):
        KeepGivenContoursd("contours", "contours", STRUCTURES, ["high", "low"])(case())
