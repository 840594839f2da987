# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Orientation
from scipy import ndimage

from ctan_networks.datasets.stoic.lungs import LungMaskd, lung_mask
from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.transforms.body import BodyMaskd, body_mask

SIZE_MM = np.array([330.0, 400.0, 330.0])


def thorax(spacing=(3.0, 3.0, 3.0), lung_hu=-860.0, arms=False):
    """A chest on a couch: CT (P, L, I) in HU and the lungs, drawn in mm so that any spacing shows the same patient."""
    grid = [(np.arange(round(size / s)) + 0.5) * s for size, s in zip(SIZE_MM, spacing, strict=True)]
    p, left, down = np.meshgrid(*grid, indexing="ij")
    mp, ml = SIZE_MM[:2] / 2

    def ball(centre, radii):
        return sum(((x - c) / r) ** 2 for x, c, r in zip((p, left, down), centre, radii, strict=True)) <= 1

    def tube(centre, radii):
        return sum(((x - c) / r) ** 2 for x, c, r in zip((p, left), centre, radii, strict=True)) <= 1

    ct = np.full(p.shape, -1000.0)
    ct[tube((mp, ml), (110, 160))] = -100
    ct[tube((mp, ml), (95, 145))] = 40
    lungs = np.zeros(p.shape, dtype=bool)
    for side in (-1, 1):
        heart_and_dome = ball((mp - 25, ml + 20, 190), (45, 55, 60)) | ball((mp, ml + side * 70, 290), (85, 75, 60))
        lungs |= ball((mp, ml + side * 75, 150), (80, 60, 120)) & ~heart_and_dome
    ct[lungs] = lung_hu
    ct[tube((mp + 10, ml), (11, 11)) & (down < 130)] = 40
    ct[tube((mp + 10, ml), (9, 9)) & (down < 130)] = -1000  # windpipe
    stomach = ball((mp - 40, ml + 70, 275), (40, 45, 25)) & ~ndimage.binary_dilation(lungs, iterations=2)
    ct[stomach] = -1000
    ct[ball((mp, ml + 75, 170), (7, 7, 7))] = 30  # consolidation in the lung
    ct[ball((mp + 5, ml - 133, 150), (7, 7, 7))] = 30  # and one at the chest wall
    if arms:
        for side in (-1, 1):
            ct[tube((mp, ml + side * 175), (35, 25))] = 40
    ct[round((mp + 112) / spacing[0])] = -200  # couch
    noise = np.random.default_rng(0).normal(0, 20, ct.shape)
    return ndimage.gaussian_filter(ct, [1.0 / s for s in spacing]) + noise, lungs, stomach


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("spacing", [(3.0, 3.0, 3.0), (2.0, 2.0, 5.0), (4.0, 3.0, 2.0)])
@pytest.mark.parametrize(("lung_hu", "arms"), [(-860.0, False), (-860.0, True), (-930.0, False), (-550.0, False)])
def test_lungs_with_their_consolidations_and_nothing_else(spacing, lung_hu, arms):
    ct, lungs, stomach = thorax(spacing, lung_hu, arms)
    found = lung_mask(ct, body_mask(ct, spacing), spacing)
    assert dice(found, lungs) > 0.98
    assert (found & lungs).sum() / lungs.sum() > 0.99
    assert not (found & stomach).any()


def test_lung_behind_a_consolidation_is_kept():
    ct, lungs, _ = thorax()
    # A slab of 12 mm through both lungs cuts their tips off.
    cut = lungs & (np.arange(ct.shape[2]) * 3.0 > 72)[None, None] & (np.arange(ct.shape[2]) * 3.0 <= 84)[None, None]
    ct[cut] = 40
    found = lung_mask(ct, body_mask(ct, (3.0, 3.0, 3.0)), (3.0, 3.0, 3.0))
    assert (found & lungs)[:, :, :24].sum() / lungs[:, :, :24].sum() > 0.98
    # All but a rim, where the ball of the closing does not reach the wall.
    assert (found & cut).sum() / cut.sum() > 0.75


def test_transform_keeps_the_image_and_its_grid():
    ct, lungs, _ = thorax()
    image = MetaTensor(ct[None].astype(np.float32), affine=np.diag([-3.0, -3.0, -3.0, 1.0]))
    started = time.perf_counter()
    out = LungMaskd("image")({"image": image, "case": "7"})
    assert time.perf_counter() - started < 5  # well under a second on an idle machine
    assert set(out) == {"image", "case", "lungs"} and out["image"] is image
    assert out["lungs"].shape == image.shape and out["lungs"].dtype == torch.uint8
    assert torch.equal(out["lungs"].affine, image.affine)
    assert dice(out["lungs"][0].numpy() > 0, lungs) > 0.98


def test_orientation_along_the_body_and_a_given_body():
    ct, _, _ = thorax()
    pli = MetaTensor(
        ct[None].astype(np.float32), affine=np.array([[0, -3, 0, 0], [-3, 0, 0, 0], [0, 0, -3, 0], [0, 0, 0, 1.0]])
    )
    expected = LungMaskd("image")({"image": pli})["lungs"]
    turned = LungMaskd("image")({"image": Orientation(axcodes="RAS", labels=None)(pli)})["lungs"]
    back = Orientation(axcodes="PLI", labels=None)(turned)
    assert dice(back.numpy() > 0, expected.numpy() > 0) > 0.995
    with_body = BodyMaskd("image", mask_key="body")({"image": pli})
    again = LungMaskd("image", mask_key="mask", body_key="body")(with_body)["mask"]
    assert dice(again.numpy() > 0, expected.numpy() > 0) > 0.995


def test_without_lungs_the_body_is_taken_and_the_case_named(caplog):
    ct, lungs, stomach = thorax()
    ct[lungs] = 40
    assert stomach.sum() * 27e-6 > 0.1
    image = MetaTensor(ct[None].astype(np.float32), affine=np.diag([3.0, 3.0, 3.0, 1.0]))
    mask = LungMaskd("image")({"image": image, "case": "12"})["lungs"][0].numpy() > 0
    np.testing.assert_array_equal(mask, body_mask(ct.astype(np.float32), (3.0, 3.0, 3.0)))
    assert "case 12: 0.00 litres of lung found" in caplog.text


def test_nothing_below_the_threshold_and_no_body():
    solid = np.full((10, 10, 10), 40.0)
    assert not lung_mask(solid, solid > 0, (3.0, 3.0, 3.0)).any()
    assert not lung_mask(solid - 2000, solid < 0, (3.0, 3.0, 3.0)).any()
    with pytest.raises(DataError, match="case 9: no body found"):
        LungMaskd("image")({"image": torch.full((1, 8, 8, 8), -2000.0), "case": "9"})
