# SPDX-License-Identifier: Apache-2.0
"""What is a CT in Hounsfield units and what is not, whatever it was stored as."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from ctan_networks.datasets.openkbp.reader import OpenKBPReader
from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.hounsfield import as_hounsfield
from ctan_networks.radiotherapy.transforms.hounsfield import HounsfieldUnitsd

SHAPE = (40, 40, 12)


@pytest.fixture(scope="module")
def hu() -> np.ndarray:
    """Noisy air, skin, fat, muscle and bone."""
    x, y = np.mgrid[: SHAPE[0], : SHAPE[1]] - 19.5
    radius = np.hypot(x, y)[:, :, None] + np.zeros(SHAPE)
    levels = [(radius < 17, -400), (radius < 16, -100), (radius < 12, 50), (radius < 3, 700)]
    ct = np.full(SHAPE, -1000.0)
    for inside, value in levels:
        ct[inside] = value
    return np.rint(ct + np.random.default_rng(0).normal(0, 15, SHAPE)).clip(-1024, None)


def corners(ct: np.ndarray, value: float) -> np.ndarray:
    """The part outside of the circle that a scanner reconstructs."""
    x, y = np.mgrid[: SHAPE[0], : SHAPE[1]] - 19.5
    return np.where((np.hypot(x, y) > 19)[:, :, None], value, ct)


IN_HU = {
    "as it is": lambda ct: ct,
    "integers": lambda ct: ct.astype(np.int16),
    "clipped": lambda ct: ct.clip(-1000, 400),
    "bright": lambda ct: np.where(ct > 500, 20_000, ct),
    "streaks": lambda ct: np.where(np.arange(ct.size).reshape(SHAPE) % 97 == 0, -1400, ct),
    "body alone": lambda ct: np.where(ct > -300, ct, -1024),
    "few slices": lambda ct: np.concatenate([np.full((*SHAPE[:2], 110), -1024.0), ct[:, :, :2]], axis=2),
}
PADDED = {f"padded with {value}": value for value in (-2000, -3024, -32768)}
NOT_IN_HU = {
    "stored values": lambda ct: ct + 1024,
    "shifted by 1000": lambda ct: ct + 1000,
    "shifted by 200": lambda ct: ct + 200,
    "shifted by -200": lambda ct: ct - 200,
    "extended scale": lambda ct: ct + 8192,
    "intercept twice": lambda ct: ct - 1024,
    "intercept twice, clipped": lambda ct: np.where(ct < -900, -2048, ct - 1024),
    "stored and padded": lambda ct: corners(ct + 1024, -2000),
    "times 10": lambda ct: ct * 10,
    "8 bit": lambda ct: ((ct + 160) / 400 * 255).clip(0, 255).astype(np.uint8),
    "8 bit, signed": lambda ct: ((ct + 160) / 400 * 255 - 128).clip(-128, 127),
    "window": lambda ct: ct.clip(-160, 240),
    "0 to 1": lambda ct: ((ct + 1000) / 2000).clip(0, 1),
    "-1 to 1": lambda ct: (ct / 1000).clip(-1, 1),
    "standardised": lambda ct: (ct - ct.mean()) / ct.std(),
    "density": lambda ct: (1 + ct / 1000).clip(0, None),
    "mask": lambda ct: ct > -300,
    "dose": lambda ct: np.where(ct > -300, 60.0, 0),
    "MR": lambda ct: np.where(ct > -700, 300 + ct.clip(0, 400), np.abs(ct) % 11),
    "MR with ringing": lambda ct: np.where(ct > -700, 300 + ct.clip(0, 400), ct % 21 - 10),
    "uptake": lambda ct: np.where(ct > -700, ct.clip(0, 50) / 20, 0),
    "nothing": lambda ct: ct * 0,
    "air": lambda ct: ct * 0 - 1000,
    "padding as a number": lambda ct: corners(ct, 62512),
    "filled with 0": lambda ct: corners(ct, 0),
}


@pytest.mark.parametrize("name", IN_HU)
def test_a_ct_passes_as_it_is(hu, name):
    ct = IN_HU[name](hu)
    found = as_hounsfield(ct, "x")
    assert found is ct or name == "streaks"
    np.testing.assert_array_equal(found, np.maximum(ct, -1024))


@pytest.mark.parametrize("name", PADDED)
def test_padding_becomes_air(hu, name):
    np.testing.assert_array_equal(as_hounsfield(corners(hu, PADDED[name]), "x"), corners(hu, -1024))


def test_a_body_alone_in_padding(hu):
    np.testing.assert_array_equal(as_hounsfield(np.where(hu > -600, hu, -2000), "x"), np.where(hu > -600, hu, -1024))


@pytest.mark.parametrize("name", NOT_IN_HU)
def test_what_is_not_in_hu_is_refused(hu, name):
    ct = np.asarray(NOT_IN_HU[name](hu))
    with pytest.raises(DataError, match="a.nii: this is no CT in Hounsfield units"):
        as_hounsfield(ct, "a.nii")


def test_the_step_of_the_preprocessing(hu):
    image = MetaTensor(torch.as_tensor(corners(hu, -3024))[None].float(), meta={"filename_or_obj": "a.nii"})
    other = torch.zeros(1, 2, 2, 2)
    found = HounsfieldUnitsd("image")({"image": image, "dose": other, "case": "a"})
    assert found["dose"] is other and found["image"].meta["filename_or_obj"] == "a.nii"
    np.testing.assert_array_equal(found["image"][0].numpy(), corners(hu, -1024))
    assert image.min() == -3024
    with pytest.raises(DataError, match="a.nii: this is no CT"):
        HounsfieldUnitsd("image")({"image": image + 1024})
    with pytest.raises(DataError, match="case b: this is no CT"):
        HounsfieldUnitsd("image")({"image": torch.zeros(1, *SHAPE), "case": "b"})


@pytest.mark.realdata
def test_real_cts_pass(real_data):
    """As they are, and not when they are shifted."""
    root = next(real_data / name for name in ("openkbp/provided-data", "provided-data") if (real_data / name).is_dir())
    files = sorted(root.rglob("ct.csv"))
    assert files
    for file in files:
        ct, _ = OpenKBPReader().get_data(file)
        as_hounsfield(ct, file)
        for shift in (1024, -1024, 500, -500):
            with pytest.raises(DataError):
                as_hounsfield(ct + shift, file)
    ct = np.asanyarray(nib.load(Path(real_data) / "dicom_rt" / "pelvis_ct" / "example_ct.nii.gz").dataobj)
    as_hounsfield(ct, "pelvis")
