# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image

from ctan_networks.datasets.table.reader import TaskReader
from ctan_networks.errors import ConfigError, DataError
from ctan_networks.transforms import CheckLabelsd, SavePicturesd, StructureChannelsd

RULES = {"seg": {"a": "empty", "b": "unknown"}}
IMAGE = torch.zeros(1, 2, 3)


def spread(label, rules=RULES, **more):
    data = {"case": "c", "image": IMAGE, "seg": torch.as_tensor(label)}
    return StructureChannelsd("seg", rules, **more)(data)


def test_a_label_map_and_masks_give_the_same_channels():
    label = torch.tensor([[0, 1, 2], [2, 1, 0]], dtype=torch.float16)
    expected = torch.stack([label == 1, label == 2]).float()
    found = spread(label[None], foreground_key="any")
    assert torch.equal(found["seg"], expected)
    assert torch.equal(found["any"], (label > 0)[None].to(torch.uint8))
    for top in (1, 255):
        assert torch.equal(spread(expected * top)["seg"], expected)
    one = {"seg": {"a": "empty"}}
    grey = torch.tensor([[[0, 0, 100.0], [100, 100, 0]]])
    assert torch.equal(spread(grey, one)["seg"], torch.tensor([[[0, 0, 1.0], [1, 1, 0]]]))


def test_what_is_absent_is_empty_or_unknown_as_asked():
    found = spread(torch.zeros(1, 2, 3), foreground_key="any")
    assert torch.equal(found["seg"][0], torch.zeros(2, 3)) and found["seg"][1].isnan().all()
    # Any window will do, and a crop has both kinds of voxel to choose from.
    assert found["any"].flatten().tolist() == [1, 0, 1, 0, 1, 0]
    nan = torch.tensor([[[0, 1.0, 2], [torch.nan, 1, 0]]])
    channels = spread(nan)["seg"]
    assert channels.isnan().sum() == 2 and channels[:, 1, 0].isnan().all()
    without = StructureChannelsd("seg", RULES, "any", allow_missing_keys=True)({"image": IMAGE})
    assert without["any"].shape == (1, 2, 3) and without["any"].sum() == 3
    everywhere = spread(torch.ones(1, 2, 3), {"seg": {"a": "empty"}}, foreground_key="any")
    assert everywhere["any"].sum() == 3


def test_wrong_labels_are_named():
    with pytest.raises(DataError, match="the label seg has the values 3: a label map holds 0 and 1 to 2"):
        spread(torch.tensor([[[0, 1, 3], [0, 0, 0]]]))
    with pytest.raises(DataError, match="0.5"):
        spread(torch.tensor([[[0, 1, 0.5], [0, 0, 0]]]))
    with pytest.raises(DataError, match="3 channels for 2 structures"):
        spread(torch.zeros(3, 2, 3))
    with pytest.raises(DataError, match=r"the label seg \(a\) has several labels \(1, 2\)"):
        spread(torch.tensor([[[0, 1.0, 2], [0, 0, 1]]]), {"seg": {"a": "empty"}})
    with pytest.raises(ConfigError, match="structures: there is no seg. Did you mean sge"):
        StructureChannelsd("seg", {"sge": {"a": "empty"}})
    with pytest.raises(ConfigError, match="channels: there is no sge"):
        CheckLabelsd("seg", {"sge": 1})
    with pytest.raises(ConfigError, match="structure a of seg"):
        StructureChannelsd("seg", {"seg": {"a": "missing"}})


def test_labels_must_lie_on_the_image():
    check = CheckLabelsd("seg", {"seg": [1, 3]}, allow_missing_keys=True)
    image = MetaTensor(torch.zeros(1, 4, 5, 6), affine=torch.eye(4))
    check({"case": "c", "image": image})
    check({"case": "c", "image": image, "seg": MetaTensor(torch.zeros(3, 4, 5, 6), affine=torch.eye(4))})
    with pytest.raises(DataError, match=r"the label seg has the size \(4, 5, 7\), the image \(4, 5, 6\)"):
        check({"case": "c", "image": image, "seg": torch.zeros(1, 4, 5, 7)})
    with pytest.raises(DataError, match="2 channels, 1 or 3 are wanted"):
        check({"case": "c", "image": image, "seg": torch.zeros(2, 4, 5, 6)})
    mirrored = torch.diag(torch.tensor([-1.0, 1, 1, 1]))
    with pytest.raises(DataError, match="6.0 mm away"):
        check({"case": "c", "image": image, "seg": MetaTensor(torch.zeros(1, 4, 5, 6), affine=mirrored)})


def test_pictures_are_written_so_that_they_are_read_back(tmp_path):
    masks = torch.zeros(2, 30, 20)
    masks[0, :10, :5] = 1
    masks[1, 5:15, :5] = 1
    heat = torch.rand(1, 30, 20)
    save = SavePicturesd(
        ["predicted_seg", "predicted_one", "predicted_heat", "predicted_flow"],
        tmp_path,
        {"seg": ["a", "b c"], "one": {"x": "empty"}},
        allow_missing_keys=True,
    )
    data = {"case": "c", "predicted_seg": masks, "predicted_one": masks[:1], "predicted_heat": heat}
    done = save({**data, "predicted_flow": torch.cat([heat, -heat])})
    folder = tmp_path / "c"
    names = {"c_seg.png", "c_seg_a.png", "c_seg_b_c.png", "c_one.png", "c_heat.tif", "c_flow.npy"}
    assert {file.name for file in folder.iterdir()} == names
    read = TaskReader(2)
    label = TaskReader(2, structures=2).get_data(folder / "c_seg.png")[0]
    np.testing.assert_array_equal(label, np.where(masks[1] > 0, 2, np.where(masks[0] > 0, 1, 0)))
    np.testing.assert_array_equal(read.get_data(folder / "c_heat.tif")[0], heat[0].numpy())
    np.testing.assert_array_equal(read.get_data(folder / "c_flow.npy")[0][..., 1], -heat[0].numpy())
    # Rows and columns as a viewer shows them.
    assert Image.open(folder / "c_one.png").size == (30, 20)
    assert np.asarray(Image.open(folder / "c_one.png"))[4, 9] == 255 and done["files"]["heat"].endswith("c_heat.tif")
