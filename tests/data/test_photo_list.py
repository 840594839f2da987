# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from PIL import Image

from ctan_networks.data import photo_list
from ctan_networks.errors import DataError


@pytest.fixture
def folder(tmp_path):
    for name in ("a/x.jpg", "a/y.PNG", "b/z.bmp", "b/u.tif", "b/v.TIFF", "b/w.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (20, 20)).save(tmp_path / name)
    return tmp_path


def names(path):
    return [item["case"] for item in photo_list(path)]


def test_photographs_of_all_kinds_and_no_masks(folder):
    for name in ("x_segmentation.png", "x_Segmentation.png", "z_lesion.bmp", "x_mask.png", "x_superpixels.png"):
        Image.new("L", (20, 20)).save(folder / name)
    Image.new("L", (20, 20)).save(folder / "z_R1_Label4.bmp")
    (folder / "notes.txt").write_text("none")
    (folder / ".hidden.jpg").write_text("none")
    assert names(folder) == ["x", "y", "u", "v", "w", "z"]
    # A photograph may be called so.
    Image.new("RGB", (20, 20)).save(folder / "b" / "hand_lesion.jpg")
    assert "hand_lesion" in names(folder)


def test_one_name_in_two_folders(folder):
    Image.new("RGB", (20, 20)).save(folder / "b" / "x.png")
    assert names(folder)[0] == "a_x.jpg" and len(set(names(folder))) == 7


def test_one_file_and_nothing(folder):
    assert photo_list(folder / "b" / "u.tif") == [{"case": "u", "image": str(folder / "b" / "u.tif")}]
    (folder / "c").mkdir()
    Image.new("L", (20, 20)).save(folder / "c" / "x_segmentation.png")
    (folder / "a.csv").write_text("image")
    for path in (folder / "c", folder / "a.csv"):
        with pytest.raises(DataError, match="holds no photograph"):
            photo_list(path)
