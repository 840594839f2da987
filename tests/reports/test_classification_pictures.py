# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImage
from PIL import Image

from ctan_networks.errors import DataError
from ctan_networks.reports.classification_pictures import draw_photo, draw_volume, keep_display, load_display
from ctan_networks.reports.figures import to_png


def keep(path, item: dict, image_key: str = "photo", segmentation: str | None = "lesion", with_input: bool = False):
    keep_display(path / "x.npz", "x", item, image_key, segmentation, with_input)
    return load_display(path / "x.npz")


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_a_photograph_is_shown_as_it_was_taken(tmp_path, kind):
    picture = np.full((300, 400, 3), 200, np.uint8)
    picture[:60, 340:] = [0, 0, 255]  # blue at the top right
    picture[240:, :80] = [255, 0, 0]  # red at the bottom left
    Image.fromarray(picture).save(tmp_path / "photo.png")
    loaded = LoadImage(image_only=True, ensure_channel_first=True)(tmp_path / "photo.png")
    assert loaded.shape == (3, 400, 300), "x first"
    mask = torch.zeros(1, 400, 300)
    mask[:, 340:, :60] = 1
    kept = keep(tmp_path, {"photo": loaded.to(kind), "reference_lesion": mask, "predicted_lesion": MetaTensor(mask)})
    assert kept["photo"].shape == (192, 256, 3) and kept["photo"].dtype == np.uint8
    assert kept["photo"][5, -5].tolist() == [0, 0, 255] and kept["photo"][-5, 5].tolist() == [255, 0, 0]
    small = np.asarray(Image.fromarray(picture).resize((256, 192), Image.Resampling.BOX))
    np.testing.assert_allclose(kept["photo"], small, atol=1)
    for kind_of_mask in ("reference", "predicted"):
        rows, columns = np.nonzero(kept[kind_of_mask])
        assert rows.max() < 192 / 4 and columns.min() > 256 * 0.8
    axis = draw_photo(kept, {}).axes[0]
    styles = [line.get_linestyle() for line in axis.collections]
    assert len(styles) == 2 and styles[0] != styles[1], "solid and dashed"


def test_unknown_masks_are_not_drawn_and_other_ranges_are_stretched(tmp_path):
    unknown = torch.full((1, 50, 30), torch.nan)
    item = {"photo": torch.linspace(-2, 3, 50 * 30).reshape(1, 50, 30), "reference_lesion": unknown}
    kept = keep(tmp_path, {**item, "predicted_lesion": torch.zeros(1, 50, 30)})
    assert set(kept) == {"photo", "predicted"} and kept["photo"].shape == (30, 50, 3)
    assert kept["photo"].min() == 0 and kept["photo"].max() == 255
    assert not draw_photo(kept, {}).axes[0].collections


def test_saliency_of_a_photograph_is_drawn_over_the_input_of_the_network(tmp_path):
    item = {"photo": torch.zeros(3, 50, 30), "image": torch.randn(3, 24, 16)}
    kept = keep(tmp_path, item, with_input=True)
    np.testing.assert_allclose(kept["input"], item["image"], atol=2e-3)
    saliency = np.zeros((24, 16), np.float32)
    saliency[20, 3] = 1  # right, above the middle
    _, axis = draw_photo(kept, {"Diagnosis: nv": saliency}).axes
    shown = np.asarray(axis.images[1].get_array())
    assert np.unravel_index(shown.argmax(), shown.shape) == (3, 20) and axis.get_title() == "Diagnosis: nv"
    assert axis.images[0].get_extent() == axis.images[1].get_extent()


AFFINES = {"RAS": np.diag([3.0, 3, 3, 1]), "LPI": np.diag([-3.0, -3, -3, 1])}


@pytest.mark.parametrize("axcodes", AFFINES)
def test_planes_go_through_the_highest_saliency(tmp_path, axcodes):
    affine = AFFINES[axcodes]
    volume = torch.zeros(1, 20, 24, 16)
    saliency = np.zeros((20, 24, 16), np.float32)
    ras = np.array([15, 18, 12])  # towards right, anterior, superior
    place = tuple(ras) if axcodes == "RAS" else tuple(np.array(saliency.shape) - 1 - ras)
    volume[(0, *place)] = saliency[place] = 1
    kept = keep(tmp_path, {"image": MetaTensor(volume, affine=affine)}, "image", None, True)
    np.testing.assert_array_equal(kept["affine"], affine)
    figure = draw_volume(kept, {"Covid: positive": saliency, "Severity: mild": np.zeros_like(saliency)})
    assert len(figure.axes) == 6
    for axis, (row, column) in zip(figure.axes, [(5, 4), (3, 4), (3, 5)], strict=False):
        for image in axis.images:
            shown = np.asarray(image.get_array())
            # First row on top: anterior or superior; first column on the left: the patient's right, or anterior.
            assert np.unravel_index(shown.argmax(), shown.shape) == (row, column)
    assert {t.get_text() for t in figure.axes[0].texts} == {"R", "L", "A", "P"}
    assert to_png(figure, dpi=30)


def test_a_volume_without_saliency_is_kept_coarse(tmp_path):
    affine = np.diag([0.7, 0.7, 2, 1])
    volume = MetaTensor(torch.rand(1, 600, 520, 40), affine=affine)
    kept = keep(tmp_path, {"image": volume}, "image", None)
    assert kept["input"].shape == (1, 200, 174, 40) and kept["input"].dtype == np.float16
    np.testing.assert_allclose(np.diag(kept["affine"]), [2.1, 2.1, 2, 1])
    figure = draw_volume(kept, {})
    assert len(figure.axes) == 3 and len(figure.axes[0].images) == 1
    plain = keep(tmp_path, {"image": torch.rand(1, 8, 8, 8)}, "image", None)
    assert "affine" not in plain and not draw_volume(plain, {}).axes[0].texts, "sides are not known"


def test_errors_say_what_is_wrong(tmp_path):
    for item, found in (({}, "NoneType"), ({"photo": torch.zeros(5, 4, 4)}, r"\[5, 4, 4\]")):
        with pytest.raises(DataError, match=f"x: 'photo' must be a picture .* found {found}"):
            keep(tmp_path, item)
    with pytest.raises(DataError, match="x: no 'image'"):
        keep(tmp_path, {"photo": torch.zeros(3, 4, 4)}, with_input=True)
