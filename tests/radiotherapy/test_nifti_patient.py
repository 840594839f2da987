# SPDX-License-Identifier: Apache-2.0
"""Masks of a patient in NIfTI, in the ways in which programs store them."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.nifti_patient import read_structure_bits

SHAPE, AFFINE = (24, 20, 12), np.diag([-4.0, -4.0, 3.0, 1.0])
NAMES = ["Bladder", "FemoralHeadLeft", "FemoralHeadRight"]


def box(first: int, last: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[first:last, 6:14, 3:9] = True
    return mask


# The first axis goes to the patient's right in RAS, where its factor is negative: to the left.
MIDDLE, LEFT, RIGHT = box(8, 16), box(20, 24), box(0, 4)


@pytest.fixture
def patient(tmp_path) -> Path:
    hu = np.full(SHAPE, -1000, np.int16)
    hu[:, 2:18] = 20
    nib.save(nib.Nifti1Image(hu, AFFINE), tmp_path / "ct.nii.gz")
    return tmp_path


def save(patient: Path, name: str, array: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    nib.save(nib.Nifti1Image(array, affine), patient / f"{name}.nii.gz")


def smooth(order: int) -> np.ndarray:
    """As resampling to a finer grid and back leaves it: values between 0 and 1, for splines below and above too."""
    finer = ndimage.zoom(MIDDLE.astype(float), 1.7, order=order, mode="nearest", grid_mode=True)
    back = ndimage.zoom(finer, np.array(SHAPE) / finer.shape, order=order, mode="nearest", grid_mode=True)
    assert back.shape == SHAPE and len(np.unique(back)) > 10
    return back


STORED = {
    "uint8": MIDDLE.astype(np.uint8),
    "int8": MIDDLE.astype(np.int8),
    "float64": MIDDLE.astype(np.float64),
    "255": MIDDLE.astype(np.uint8) * 255,
    "255 in a signed byte": (MIDDLE.astype(np.uint8) * 255).view(np.int8),
    "smooth in a signed byte": np.rint(255 * ndimage.gaussian_filter(MIDDLE.astype(float), 0.6))
    .astype(np.uint8)
    .view(np.int8),
    "the label 7": MIDDLE.astype(np.int16) * 7,
    "1000": MIDDLE.astype(np.float32) * 1000,
}


@pytest.mark.parametrize("kind", STORED)
def test_every_way_to_write_inside(patient, kind):
    save(patient, "Bladder", STORED[kind])
    bits, meta = read_structure_bits(patient, NAMES)
    # Smoothing rounds the corners off.
    assert np.count_nonzero(bits != MIDDLE) <= (0.15 * MIDDLE.sum() if "smooth" in kind else 0)
    assert meta["present"] == [True, False, False]


@pytest.mark.parametrize("scale", [1, 255])
@pytest.mark.parametrize("order", [1, 3])
def test_masks_that_were_resampled_smoothly(patient, order, scale):
    array = smooth(order) * scale
    save(patient, "Bladder", array.astype(np.float32))
    bits, _ = read_structure_bits(patient, NAMES)
    # All that is above 0 would be a shell of voxels more, or a spline's ripples all over.
    assert (array > 1e-4 * scale).sum() > 1.3 * MIDDLE.sum()
    assert np.count_nonzero(bits != MIDDLE) <= 0.02 * MIDDLE.sum()


def test_a_mask_that_was_resampled_to_nothing_is_as_good_as_not_drawn(patient, caplog):
    thin = np.zeros(SHAPE, np.float32)
    thin[10, 6:14, 5] = 1
    save(patient, "Bladder", ndimage.gaussian_filter(thin, 1))
    bits, meta = read_structure_bits(patient, NAMES)
    assert not bits.any() and meta["present"] == [False, False, False]
    assert "Bladder.nii.gz: no voxel of the mask is inside by half or more" in caplog.text


def test_what_is_no_mask_of_one_structure_is_refused_by_name(patient):
    save(patient, "Bladder", MIDDLE.astype(np.uint8) + 2 * LEFT.astype(np.uint8))
    with pytest.raises(DataError, match=r"Bladder.nii.gz has several labels \(1, 2\)"):
        read_structure_bits(patient, NAMES)
    save(patient, "Bladder", MIDDLE * np.float32(-3))
    with pytest.raises(DataError, match=r"Bladder.nii.gz has values below 0"):
        read_structure_bits(patient, NAMES)
    save(patient, "Bladder", MIDDLE.astype(np.uint8), np.diag([4.0, -4.0, 3.0, 1.0]))
    with pytest.raises(DataError, match="not on the grid of ct.nii.gz"):
        read_structure_bits(patient, NAMES)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize(
    ("left", "right", "said"),
    [
        (LEFT, RIGHT, ""),
        (LEFT, None, ""),
        (RIGHT, LEFT, "FemoralHeadLeft does not lie to the patient's left of FemoralHeadRight: it lies 80 mm to its"),
        (RIGHT, None, "FemoralHeadLeft lies 40 mm to the patient's right of the body's middle"),
        (None, LEFT, "FemoralHeadRight lies 40 mm to the patient's left of the body's middle"),
    ],
)
def test_left_and_right_in_any_order_of_the_axes(patient, axes, left, right, said):
    affine = AFFINE.copy()
    affine[:, :3] = AFFINE[:, axes]
    hu = np.asanyarray(nib.load(patient / "ct.nii.gz").dataobj).transpose(axes)
    save(patient, "ct", hu, affine)
    for name, mask in (("FemoralHeadLeft", left), ("FemoralHeadRight", right)):
        if mask is not None:
            save(patient, name, mask.astype(np.uint8).transpose(axes), affine)
    if not said:
        assert read_structure_bits(patient, NAMES)[0].any()
        return
    with pytest.raises(DataError) as caught:
        read_structure_bits(patient, NAMES)
    assert said in str(caught.value) and str(patient) in str(caught.value)
