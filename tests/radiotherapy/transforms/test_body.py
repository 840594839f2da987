# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.transforms.body import BodyMaskd, body_mask

SPACING = (4.0, 4.0, 2.5)


def phantom() -> tuple[np.ndarray, np.ndarray]:
    """A cylinder with an airway and a thin couch that touches it; returns CT (P, L, I) and the true body."""
    y, x, _ = np.mgrid[:48, :64, :10]
    body = (y - 20) ** 2 / 14**2 + (x - 32) ** 2 / 20**2 <= 1
    ct = np.where(body, 40.0, -1024.0)
    ct[(y - 18) ** 2 + (x - 32) ** 2 <= 9] = -1000.0
    ct[35, 2:62] = 100.0
    return ct, body


def test_body_is_found_without_couch_and_with_airway():
    ct, body = phantom()
    found = body_mask(ct, SPACING)
    assert (found & body).sum() / body.sum() > 0.99
    assert (found & ~body).sum() / body.sum() < 0.05
    assert found[18, 32].all()
    assert not found[35, 2:20].any()


def test_two_large_parts_both_count_and_specks_do_not():
    ct = np.full((40, 60, 8), -1024.0)
    ct[5:30, 5:25] = 0.0
    ct[5:30, 35:55] = 0.0
    ct[36:38, 2:4] = 0.0
    found = body_mask(ct, SPACING)
    assert found[10, 10].all() and found[10, 45].all() and not found[36:38, 2:4].any()


def test_small_field_of_view_is_not_erased():
    ct = np.full((10, 10, 4), -1024.0)
    ct[4, 4] = 0.0
    assert body_mask(ct, SPACING)[4, 4].all()


def test_transform_sets_air_outside_and_keeps_the_grid():
    ct, _ = phantom()
    affine = np.diag([*SPACING, 1.0])
    out = BodyMaskd("image")({"image": MetaTensor(ct[None].astype(np.float32), affine=affine)})
    assert out["image"].shape == out["body"].shape == (1, *ct.shape)
    assert torch.equal(out["body"].affine, out["image"].affine)
    assert (out["image"][out["body"] == 0] == -1024).all()
    assert out["image"][0, 20, 20, 5] == 40


def test_an_image_that_is_no_ct_is_named():
    with pytest.raises(DataError, match="pt_9.*Hounsfield"):
        BodyMaskd("image")({"image": torch.full((1, 4, 4, 4), -2000.0), "case": "pt_9"})
