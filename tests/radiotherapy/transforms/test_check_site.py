# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.radiotherapy.transforms.check_site import CheckSited


def body(radii_mm: list[float], spacing: tuple[float, float, float] = (2.0, 2.0, 3.0)) -> dict:
    """Circles, one a slice."""
    x = (np.arange(200) - 99.5) * spacing[0]
    y = (np.arange(200) - 99.5) * spacing[1]
    distance = np.hypot(x[:, None], y[None])
    masks = np.stack([distance < radius for radius in radii_mm], axis=-1)
    affine = torch.diag(torch.tensor([*spacing, 1.0]))
    return {"body": MetaTensor(torch.from_numpy(masks)[None].float(), affine=affine)}


def test_a_neck_passes_and_a_chest_does_not():
    check = CheckSited("body", (50, 330), 40, "head and neck")
    # A circle of 70 mm has 154 cm2, one of 160 mm 804 cm2.
    neck = body([70.0] * 14 + [160.0] * 80)
    assert check(neck)["body"] is neck["body"]
    with pytest.raises(DataError, match="39 mm of the body.*median is 80"):
        check(body([70.0] * 13 + [160.0] * 80))
    with pytest.raises(DataError, match="does not look like a CT of the head and neck"):
        check(body([160.0] * 80))
    with pytest.raises(DataError, match="along 0 mm.*median is 0 cm2"):
        check(body([0.0] * 80))


def test_spacing_counts():
    check = CheckSited("body", (50, 330), 40, "head and neck")
    assert check(body([70.0] * 9, (4.0, 2.0, 5.0)))
    with pytest.raises(DataError):
        check(body([70.0] * 14, (2.0, 2.0, 1.0)))


def test_it_can_be_left_out():
    assert CheckSited("body", (50, 330), 40, "neck", enabled=False)(body([160.0] * 30))
    with pytest.raises(ConfigError, match="go up"):
        CheckSited("body", (330, 50), 40, "neck")
