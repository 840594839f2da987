# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ctan_networks.data import MaskReader
from ctan_networks.errors import DataError

ROWS, COLUMNS = np.mgrid[:30, :40]
MASK = ((COLUMNS - 15) / 9) ** 2 + ((ROWS - 12) / 7) ** 2 < 1
LABELS = np.where(MASK & (COLUMNS > 15), 2, MASK).astype(np.uint8)
ONE = MASK.astype(np.uint8)


def palette(indices, *colours):
    image = Image.fromarray(indices.astype(np.uint8), "P")
    image.putpalette([value for colour in colours for value in colour])
    return image


def colours(array, *table):
    return Image.fromarray(np.array(table, np.uint8)[array])


# Pictures of one mask, as programs write them, and the value inside.
PICTURES = {
    "grey": (Image.fromarray(ONE * 255), 255),
    "0 and 1": (Image.fromarray(ONE), 1),
    "0 and 127": (Image.fromarray(ONE * 127), 127),
    "bilevel": (Image.fromarray(MASK), 1),
    "16 bits": (Image.fromarray(ONE.astype(np.uint16) * 65535), 65535),
    "floating point": (Image.fromarray(ONE.astype(np.float32)), 1),
    "VOC palette": (palette(ONE, (0, 0, 0), (128, 0, 0)), 1),
    "palette on white": (palette(ONE, (255, 255, 255), (200, 0, 0)), 1),
    "grey palette": (palette(ONE, (0, 0, 0), (255, 255, 255)), 1),
    "dark grey palette": (palette(ONE, (30, 30, 30), (90, 90, 90)), 1),
    "palette of one colour": (palette(ONE, (0, 0, 0), (0, 0, 0)), 1),
    "white on black": (colours(ONE, (0, 0, 0), (255, 255, 255)), 255),
    "red on black": (colours(ONE, (0, 0, 0), (255, 0, 0)), 255),
    "dark blue on black": (colours(ONE, (0, 0, 0), (0, 0, 90)), 90),
    "orange on black": (colours(ONE, (0, 0, 0), (255, 128, 0)), 255),
    "black, shown by its alpha": (colours(ONE, (0, 0, 0, 0), (0, 0, 0, 255)), 255),
    "white, shown by its alpha": (colours(ONE, (255, 255, 255, 0), (255, 255, 255, 255)), 255),
    "red on nothing, half transparent": (colours(ONE, (0, 0, 0, 0), (255, 0, 0, 120)), 120),
    "red on black, opaque": (colours(ONE, (0, 0, 0, 255), (255, 0, 0, 255)), 255),
    "grey and alpha": (Image.fromarray(np.stack([ONE * 0 + 255, ONE * 255], -1), "LA"), 255),
    "grey, opaque": (Image.fromarray(np.stack([ONE * 255, ONE * 0 + 255], -1), "LA"), 255),
}


def read(file, structures=1):
    array, _ = MaskReader(structures).get_data(file)
    return np.swapaxes(array, 0, 1)


@pytest.mark.parametrize("name", PICTURES)
def test_masks_as_programs_write_them(tmp_path, name):
    image, value = PICTURES[name]
    file = tmp_path / ("mask.tif" if image.mode == "F" else "mask.png")
    image.save(file)
    assert np.array_equal(read(file), MASK * value)


@pytest.mark.parametrize("name", ["grey", "0 and 1", "bilevel", "VOC palette", "grey palette"])
@pytest.mark.parametrize("suffix", [".bmp", ".tif", ".gif"])
def test_masks_in_other_files(tmp_path, name, suffix):
    PICTURES[name][0].save(tmp_path / f"mask{suffix}")
    if (name, suffix) == ("grey palette", ".bmp"):
        # Pillow would take its 8 bits a pixel for 1 bit.
        with pytest.raises(DataError, match=r"mask.bmp .* Save it as PNG"):
            read(tmp_path / f"mask{suffix}")
        return
    values = read(tmp_path / f"mask{suffix}")
    assert np.array_equal(values > values.max() / 2, MASK)


def test_a_coloured_jpeg(tmp_path):
    colours(ONE, (0, 0, 0), (255, 0, 0)).save(tmp_path / "a.jpg", quality=80)
    assert np.mean((read(tmp_path / "a.jpg") > 127) == MASK) > 0.97


def test_label_maps(tmp_path):
    table = (0, 0, 0), (128, 0, 0), (0, 128, 0)
    greys = (0, 0, 0), (128, 128, 128), (255, 255, 255)
    for image in (Image.fromarray(LABELS), palette(LABELS, *table), palette(LABELS, *greys)):
        image.save(tmp_path / "a.png")
        assert np.array_equal(read(tmp_path / "a.png", 2), LABELS)
    # Of one structure the greys count, of which most may be edges.
    assert np.array_equal(np.unique(read(tmp_path / "a.png")), [0, 128, 255])
    # Three masks that may overlap.
    masks = np.stack([LABELS == 1, LABELS == 2, MASK], -1) * np.uint8(255)
    Image.fromarray(masks).save(tmp_path / "a.png")
    assert np.array_equal(read(tmp_path / "a.png", 3), masks)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (colours(LABELS, (0, 0, 0), (255, 0, 0), (0, 255, 0)), "3 colours"),
        (colours(LABELS, (0, 0, 0), (255, 0, 0), (255, 255, 255)), "3 colours"),
        (colours(ONE, (255, 255, 255), (255, 0, 0)), "2 colours"),
        (palette(1 - ONE, (255, 0, 0), (0, 0, 0)), "black is index 1, while index 0 has a colour"),
        (palette(1 - ONE, (255, 255, 255), (0, 0, 0)), "black is index 1, while index 0 has a colour"),
        (colours(LABELS, (9, 9, 9, 0), (99, 99, 99, 80), (70, 70, 70, 255)), "a transparency of their own"),
        (colours(ONE, (0, 0, 0, 0), (255, 0, 0, 0)), "a transparency of their own"),
        (colours(LABELS, (0, 0, 0, 0), (255, 0, 0, 255), (0, 0, 255, 255)), "3 colours"),
        (Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)), "1200 colours"),
    ],
)
def test_what_is_no_mask_is_refused_by_name(tmp_path, image, said):
    image.save(tmp_path / "lesion.png")
    with pytest.raises(DataError, match=f"lesion.png.*{said}.*(Save|save)"):
        read(tmp_path / "lesion.png")
