# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import AsDiscreted, Compose, CropForegroundd, Invertd, Orientationd, Spacingd

from ctan_networks.transforms import InvertMasksd


@pytest.fixture
def preprocessed() -> tuple[dict, Compose]:
    affine = torch.diag(torch.tensor([-1.0, 2.0, 3.0, 1.0]))
    image = MetaTensor(torch.rand(1, 20, 18, 7), affine=affine)
    image[:, :3] = -1
    chain = Compose(
        [
            Orientationd("image", axcodes="PLI", labels=None),
            Spacingd("image", pixdim=(2.5, 1.7, 2.0), mode="bilinear"),
            CropForegroundd("image", source_key="image", allow_smaller=True),
        ]
    )
    case = chain({"image": image})
    generator = torch.Generator().manual_seed(0)
    case["pred"] = MetaTensor(torch.rand(4, *case["image"].shape[1:], generator=generator))
    return case, chain


def test_masks_are_those_of_invertd_and_asdiscreted(preprocessed):
    case, chain = preprocessed
    reference = Compose(
        [
            Invertd("pred", chain, orig_keys="image", nearest_interp=False, to_tensor=True),
            AsDiscreted("pred", threshold=0.5),
        ]
    )(copy.deepcopy(case))["pred"]
    found = InvertMasksd("pred", chain, orig_keys="image")(case)["pred"]
    assert found.dtype == torch.uint8 and found.shape == (4, 20, 18, 7)
    assert torch.equal(found.as_tensor(), reference.as_tensor().to(torch.uint8))
    assert torch.allclose(found.affine, reference.affine) and found.max() == 1
    # The case's image is as it was.
    assert case["image"].shape[1:] == case["pred"].shape[1:]


def test_a_missing_key(preprocessed):
    case, chain = preprocessed
    assert "other" not in InvertMasksd("other", chain, allow_missing_keys=True)(case)
    with pytest.raises(KeyError, match="other"):
        InvertMasksd("other", chain)(case)
