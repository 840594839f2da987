# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image
from scipy.ndimage import gaussian_filter

from ctan_networks.data.photo_reader import ORIENTATION, STORED_SIZE
from ctan_networks.errors import DataError
from ctan_networks.transforms import TurnMasksd
from ctan_networks.transforms.masks import inside_mask

ROWS, COLUMNS = np.mgrid[:64, :48]
MASK = ((COLUMNS - 20) / 14) ** 2 + ((ROWS - 30) / 18) ** 2 < 1
LABELS = np.where(MASK & (COLUMNS > 20), 2, MASK).astype(float)


def inside(values):
    return inside_mask(torch.as_tensor(np.asarray(values, np.float32)), "mask.png").numpy()


@pytest.mark.parametrize("top", [1, 2, 100, 127, 200, 255, 65535, 0.5, float("inf")])
def test_whatever_is_not_zero_is_inside(top):
    assert np.array_equal(inside(np.where(MASK, top, 0)), MASK)
    assert inside(np.full((3, 3), top)).all() and not inside(np.zeros((3, 3))).any()


@pytest.mark.parametrize("top", [1, 255, 127])
def test_of_edges_the_inner_half_is_inside(top):
    smooth = gaussian_filter(MASK * float(top), 1.0)
    smooth = smooth if top == 1 else smooth.round()
    assert np.array_equal(inside(smooth), smooth >= top / 2)
    volume = gaussian_filter(np.repeat(MASK[..., None] * float(top), 9, -1), 1.0)
    assert np.array_equal(inside(volume), volume >= top / 2)


def test_a_probability_counts_from_one_half():
    bump = np.exp(-(((COLUMNS - 20) / 8) ** 2) - ((ROWS - 30) / 8) ** 2)
    assert not inside(bump * 0.4).any() and np.array_equal(inside(bump * 0.8), bump * 0.8 >= 0.5)


def test_what_is_unknown_is_outside():
    values = np.where(COLUMNS < 5, np.nan, MASK * 255.0)
    assert np.array_equal(inside(values), MASK & (COLUMNS >= 5)) and not inside(np.full((2, 2), np.nan)).any()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (LABELS, r"several labels \(1, 2\)"),
        (np.array([0, 127, 255])[LABELS.astype(int)], r"several labels \(127, 255\)"),
        (MASK + 1.0, r"several labels \(1, 2\)"),
        (np.array([0.0, 0.4, 1.0])[LABELS.astype(int)], "several labels"),
        (-MASK.astype(float), "below 0"),
        (np.random.default_rng(0).integers(60, 230, (64, 48)), "looks like a photograph"),
    ],
)
def test_what_is_no_mask_of_one_structure_is_refused(values, said):
    with pytest.raises(DataError, match=f"mask.png .*{said}"):
        inside(values)


# Pillow's operation that makes the stored picture of an upright one, for each value of the EXIF tag.
T = Image.Transpose
STORED = {
    1: None, 2: T.FLIP_LEFT_RIGHT, 3: T.ROTATE_180, 4: T.FLIP_TOP_BOTTOM,
    5: T.TRANSPOSE, 6: T.ROTATE_90, 7: T.TRANSVERSE, 8: T.ROTATE_270,
}  # fmt: skip


def case(held, mask, meta=None):
    stored = [48, 64] if held < 5 else [64, 48]
    image = MetaTensor(torch.zeros(3, 48, 64), meta={ORIENTATION: held, STORED_SIZE: stored})
    label = torch.as_tensor(np.asarray(mask, np.float32).T[None].copy())
    return {"image": image, "mask": MetaTensor(label, meta=meta) if meta else label}


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_mask_turns_with_its_photograph(orientation):
    stored = np.asarray(Image.fromarray(MASK).transpose(STORED[orientation]))
    for mask in (stored, MASK):
        turned = TurnMasksd("mask")(case(orientation, mask))["mask"]
        assert np.array_equal(turned[0].T.numpy() > 0, MASK)
    # One with an orientation of its own was turned when it was read.
    same = TurnMasksd("mask")(case(orientation, MASK, {ORIENTATION: orientation, STORED_SIZE: [64, 48]}))["mask"]
    assert np.array_equal(same[0].T.numpy() > 0, MASK)


@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_a_mask_that_fits_both_ways_is_refused(orientation):
    with pytest.raises(DataError, match=f"EXIF orientation {orientation}"):
        TurnMasksd("mask")(case(orientation, MASK))
    square = case(6, MASK)
    square["image"].meta[STORED_SIZE] = [64, 64]
    with pytest.raises(DataError, match="fits turned or not"):
        TurnMasksd("mask")(square)


def test_without_orientation_nothing_is_turned():
    given = case(1, MASK)
    assert TurnMasksd(["mask", "other"], allow_missing_keys=True)(given)["mask"] is given["mask"]
    plain = {"image": torch.zeros(3, 48, 64), "mask": given["mask"]}
    assert TurnMasksd("mask")(plain)["mask"] is plain["mask"]
