# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from monai.transforms import LoadImage
from PIL import Image

from ctan_networks.data import PhotoReader
from ctan_networks.data.photo_reader import open_photo
from ctan_networks.errors import DataError

# Red left half, blue lower right quarter: every orientation looks different.
UPRIGHT = np.zeros((24, 40, 3), np.uint8)
UPRIGHT[:, :20, 0] = 200
UPRIGHT[12:, 20:, 2] = 200


def test_axes_are_x_y_channel(tmp_path):
    Image.fromarray(UPRIGHT).save(tmp_path / "a.png")
    array = np.asarray(LoadImage(reader=PhotoReader(), image_only=True)(tmp_path / "a.png"))
    assert np.array_equal(array, UPRIGHT.transpose(1, 0, 2))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path, orientation):
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
    image.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(np.asarray(open_photo(tmp_path / "a.png")), UPRIGHT)


@pytest.mark.parametrize("mode", ["RGBA", "L", "LA", "P", "CMYK", "1"])
def test_any_mode_becomes_rgb_or_grey(tmp_path, mode):
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.fromarray(UPRIGHT).convert(mode).save(path)
    assert open_photo(path).mode == "RGB"
    assert open_photo(path, "L").mode == "L"
    if mode == "RGBA":
        assert np.array_equal(np.asarray(open_photo(path)), UPRIGHT)


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
        open_photo(path)
    # Through MONAI the reason is kept as the cause.
    with pytest.raises(Exception) as caught:
        LoadImage(reader=PhotoReader(), image_only=True)(path)
    chain, error = [], caught.value
    while error is not None:
        chain.append(str(error))
        error = error.__cause__ or error.__context__
    assert any("lesion.jpg" in text for text in chain)
