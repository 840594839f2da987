# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from monai.transforms import LoadImage
from PIL import Image, ImageCms

from ctan_networks.data import PhotoReader
from ctan_networks.data.photo_reader import ORIENTATION, STORED_SIZE, picture_header
from ctan_networks.errors import ConfigError, DataError

# Red left half, blue lower right quarter: every orientation looks different.
UPRIGHT = np.zeros((24, 40, 3), np.uint8)
UPRIGHT[:, :20, 0] = 200
UPRIGHT[12:, 20:, 2] = 200


def read(path, channels=3):
    """The picture as rows and columns."""
    return np.swapaxes(PhotoReader(channels).get_data(path)[0], 0, 1)


def test_axes_are_x_y_channel(tmp_path):
    Image.fromarray(UPRIGHT).save(tmp_path / "a.png")
    array = np.asarray(LoadImage(reader=PhotoReader(), image_only=True)(tmp_path / "a.png"))
    assert np.array_equal(array, UPRIGHT.transpose(1, 0, 2))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path, orientation, suffix):
    # How a camera stores the upright picture for each value of the tag (EXIF 2.3, 4.6.4 A, tag 0112).
    stored = {
        1: UPRIGHT,
        2: UPRIGHT[:, ::-1],
        3: UPRIGHT[::-1, ::-1],
        4: UPRIGHT[::-1],
        5: UPRIGHT.transpose(1, 0, 2),
        6: np.rot90(UPRIGHT, 1),
        7: UPRIGHT[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(UPRIGHT, -1),
    }[orientation]
    image = Image.fromarray(np.ascontiguousarray(stored))
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"a{suffix}"
    image.save(file, exif=exif, **({"lossless": True} if suffix == ".webp" else {}))
    array, meta = PhotoReader().get_data(file)
    assert np.array_equal(array, UPRIGHT.transpose(1, 0, 2))
    assert (meta[ORIENTATION], meta[STORED_SIZE]) == (orientation, list(image.size))
    assert picture_header(file) == {ORIENTATION: orientation, STORED_SIZE: list(image.size)}


@pytest.mark.parametrize("mode", ["RGBA", "L", "LA", "P", "CMYK", "1", "LAB", "YCbCr"])
def test_any_mode_becomes_rgb_or_grey(tmp_path, mode):
    path = tmp_path / {"CMYK": "a.jpg", "LAB": "a.tif", "YCbCr": "a.tif"}.get(mode, "a.png")
    image = Image.fromarray(UPRIGHT)
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.applyTransform(image, ImageCms.buildTransform(*profiles, "RGB", "LAB"))
    image.convert(mode).save(path, **({"quality": 100} if mode == "CMYK" else {}))
    rgb, grey = read(path), read(path, 1)
    assert rgb.shape == UPRIGHT.shape and grey.shape == UPRIGHT.shape[:2] and rgb.dtype == grey.dtype == np.uint8
    if mode == "RGBA":
        assert np.array_equal(rgb, UPRIGHT)
    if mode in ("CMYK", "LAB", "YCbCr"):
        # 8 bits of L*a*b* are coarse, and JPEG's blocks have the colours of their neighbours at an edge.
        assert np.median(np.abs(rgb.astype(int) - UPRIGHT)) <= 2 and abs(rgb.mean() - UPRIGHT.mean()) < 5


GREY = np.tile(np.arange(24, 232, 8, dtype=np.uint8), (20, 1))


@pytest.mark.parametrize(
    ("values", "suffix"),
    [
        (GREY.astype(np.uint16) * 257, ".png"),
        (GREY.astype(np.uint16) * 257, ".tif"),
        (GREY.astype(np.int32) * 257, ".tif"),
        (GREY.astype(np.uint16), ".png"),
        (GREY.astype(np.float32), ".tif"),
        (GREY.astype(np.float32) / 255, ".tif"),
    ],
)
def test_more_than_8_bits_are_scaled_and_not_cut_off(tmp_path, values, suffix):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(values).save(path)
    assert np.array_equal(read(path), np.repeat(GREY[..., None], 3, -1))
    assert np.array_equal(read(path, 1), values), "grey keeps the values that are stored"


def test_12_bits_in_16_are_refused(tmp_path):
    Image.fromarray(GREY.astype(np.uint16) * 16).save(tmp_path / "grey.png")
    with pytest.raises(DataError, match=r"grey.png has values from 384 to 3584.*8\s+bits a channel"):
        read(tmp_path / "grey.png")
    for factor in (16, 257):
        deep = (UPRIGHT.astype(np.uint16) * factor).astype(">u2")
        lines = zlib.compress(b"".join(b"\0" + row.tobytes() for row in deep))
        parts = [(b"IHDR", struct.pack(">2I5B", 40, 24, 16, 2, 0, 0, 0)), (b"IDAT", lines), (b"IEND", b"")]
        chunks = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts]
        (tmp_path / f"{factor}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    assert np.array_equal(read(tmp_path / "257.png"), UPRIGHT)
    with pytest.raises(DataError, match="16.png has 16 bits a channel"):
        read(tmp_path / "16.png")


@pytest.mark.parametrize("suffix", [".tif", ".gif", ".png"])
def test_several_pages_are_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(UPRIGHT).save(path, save_all=True, append_images=[Image.fromarray(255 - UPRIGHT)])
    with pytest.raises(DataError, match="holds 2 pictures"):
        read(path)


def test_a_telephone_s_photograph_is_the_first_of_its_file(tmp_path):
    smaller = Image.fromarray(UPRIGHT).resize((20, 16))
    Image.fromarray(UPRIGHT).save(tmp_path / "a.mpo", save_all=True, append_images=[smaller], quality=95)
    (tmp_path / "a.mpo").rename(tmp_path / "a.jpg")
    assert read(tmp_path / "a.jpg").shape == UPRIGHT.shape


def test_channels_are_one_or_three():
    with pytest.raises(ConfigError, match="1 or 3 channels, not 4"):
        PhotoReader(4)


@pytest.mark.parametrize("fault", ["absent", "empty", "text", "cut", "pixel", "bomb"])
def test_what_cannot_be_read_is_named(tmp_path, fault, monkeypatch):
    path = tmp_path / "lesion.jpg"
    if fault == "pixel":
        Image.new("RGB", (1, 1)).save(path)
    elif fault != "absent":
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)).save(path)
    if fault == "cut":
        path.write_bytes(path.read_bytes()[:2000])
    if fault in ("empty", "text"):
        path.write_bytes(b"" if fault == "empty" else b"not an image")
    if fault == "bomb":
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match="lesion.jpg"):
        read(path)
    # Through MONAI the reason is kept as the cause.
    with pytest.raises(Exception) as caught:
        LoadImage(reader=PhotoReader(), image_only=True)(path)
    chain, error = [], caught.value
    while error is not None:
        chain.append(str(error))
        error = error.__cause__ or error.__context__
    assert any("lesion.jpg" in text for text in chain)
