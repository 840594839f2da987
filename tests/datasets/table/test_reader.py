# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from monai.transforms import Compose, EnsureChannelFirst, LoadImage
from PIL import Image

from ctan_networks.datasets.table.map_deviation import map_deviation
from ctan_networks.datasets.table.reader import TaskReader
from ctan_networks.errors import ConfigError, DataError


def load(path, spatial_dims, channels=None, structures=None):
    reader = TaskReader(spatial_dims, channels, structures)
    return Compose([LoadImage(reader=reader, image_only=True), EnsureChannelFirst()])(str(path))


def test_volumes_of_one_and_of_several_channels(tmp_path):
    values = np.random.default_rng(0).random((5, 6, 7, 2)).astype(np.float32)
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "two.nii.gz")
    nib.save(nib.Nifti1Image(values[..., :1], affine), tmp_path / "one.nii")
    nib.save(nib.Nifti1Image(values[:, :, :, None, :], affine), tmp_path / "vector.nii.gz")
    two = load(tmp_path / "two.nii.gz", 3, 2)
    np.testing.assert_array_equal(two.numpy(), values.transpose(3, 0, 1, 2))
    np.testing.assert_array_equal(two.affine.numpy(), affine)
    np.testing.assert_array_equal(load(tmp_path / "one.nii", 3, 1).numpy()[0], values[..., 0])
    np.testing.assert_array_equal(load(tmp_path / "vector.nii.gz", 3).numpy(), two.numpy())
    with pytest.raises(DataError, match="two.nii.gz has 2 channels, the network takes 1"):
        TaskReader(3, 1).get_data(tmp_path / "two.nii.gz")


def test_pictures_are_read_as_images_or_as_they_are(tmp_path):
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (20, 30, 3)).astype(np.uint8)
    Image.fromarray(rgb).save(tmp_path / "rgb.png")
    image = load(tmp_path / "rgb.png", 2, 3)
    np.testing.assert_array_equal(image.numpy(), rgb.transpose(2, 1, 0))
    assert load(tmp_path / "rgb.png", 2, 1).shape == (1, 30, 20)
    # A palette picture holds indices, and not colours.
    indices = rng.integers(0, 4, (20, 30)).astype(np.uint8)
    palette = Image.fromarray(indices, mode="P")
    palette.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0, 0, 0, 200])
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(load(tmp_path / "palette.png", 2, structures=3).numpy()[0], indices.T)
    deep = rng.integers(0, 65536, (20, 30)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    for channels in (None, 1):
        np.testing.assert_array_equal(load(tmp_path / "deep.png", 2, channels).numpy()[0], deep.T)
    real = rng.random((20, 30)).astype(np.float32)
    Image.fromarray(real).save(tmp_path / "real.tif")
    np.save(tmp_path / "real.npy", np.stack([real, -real], -1))
    np.testing.assert_array_equal(load(tmp_path / "real.tif", 2).numpy()[0], real.T)
    np.testing.assert_array_equal(load(tmp_path / "real.npy", 2).numpy(), np.stack([real.T, -real.T]))


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match="1 or 3 channels, not 4"):
        TaskReader(2, 4)
    (tmp_path / "cut.nii.gz").write_bytes(b"\x1f\x8b\x08nothing")
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY")
    np.save(tmp_path / "line.npy", np.zeros(3))
    nib.save(nib.Nifti1Image(np.zeros((3, 4), np.float32), np.eye(4)), tmp_path / "flat.nii.gz")
    for name, dims, message in (
        ("cut.nii.gz", 3, "cut.nii.gz cannot be read"),
        ("cut.png", 2, "cut.png cannot be read"),
        ("cut.npy", 2, "cut.npy cannot be read"),
        ("line.npy", 2, "line.npy has the shape"),
        ("gone.nii.gz", 3, "gone.nii.gz is not there"),
        ("flat.nii.gz", 3, "flat.nii.gz has 2 dimensions"),
    ):
        with pytest.raises(DataError, match=message):
            TaskReader(dims).get_data(tmp_path / name)


def test_deviation_of_maps_from_their_mean(tmp_path):
    rng = np.random.default_rng(0)
    items = []
    for k in range(5):
        values = rng.normal(k, 1, (6, 7, 8)).astype(np.float32)
        nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / f"{k}.nii.gz")
        items.append({"heat": str(tmp_path / f"{k}.nii.gz"), "values": values})
    items.append({"case": "unlabelled"})
    maps = [item["values"] for item in items if "values" in item]
    mean = np.mean(maps)
    assert map_deviation(items, "heat", 3) == pytest.approx(np.mean(np.abs(np.array(maps) - mean)), rel=1e-5)


def test_without_maps_the_deviation_is_one_and_a_warning_says_so(caplog):
    assert map_deviation([{"case": "a"}], "heat", 3) == 1.0 and "no training case has a map for heat" in caplog.text
