# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.transforms import LabelMapd, RandMirrorPatientd, UnpackStructuresd

RULES = {"Cord": "unknown", "LeftParotid": "unknown", "RightParotid": "unknown", "PTV70": "empty"}


def field(*structures: list[int], present: list[bool] | None = None) -> MetaTensor:
    """A bit field of 4 voxels; one list of voxels for each structure."""
    bits = np.zeros((1, 4, 1, 1), np.int16)
    for k, voxels in enumerate(structures):
        bits[0, voxels, 0, 0] |= 1 << k
    return MetaTensor(bits, meta={} if present is None else {"present": present})


def test_unpack_gives_one_channel_a_structure_and_overlaps_stay():
    out = UnpackStructuresd("label", RULES)({"label": field([0, 1], [1], [], [1, 3])})["label"]
    assert out.shape == (4, 4, 1, 1)
    assert out[:, :, 0, 0].tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 1]]


def test_absent_means_what_the_rule_says():
    present = [True, False, True, False]
    out = UnpackStructuresd("label", RULES)({"label": field([0], [], [1], [], present=present)})["label"]
    assert torch.isnan(out[1]).all()
    assert (out[3] == 0).all()
    assert not torch.isnan(out[[0, 2]]).any()


def test_all_sixteen_bits_are_usable():
    rules = {f"s{k}": "empty" for k in range(16)}
    bits = np.zeros((1, 1, 1, 1), np.uint16)
    bits[...] = 1 << 15
    out = UnpackStructuresd("label", rules)({"label": torch.from_numpy(bits.view(np.int16))})["label"]
    assert out.flatten().tolist() == [0.0] * 15 + [1.0]


def test_unpack_refuses_an_unknown_rule():
    with pytest.raises(ConfigError, match="Cord"):
        UnpackStructuresd("label", {"Cord": "missing"})


def mirror(prob: float) -> RandMirrorPatientd:
    return RandMirrorPatientd(["image", "label"], "label", list(RULES), [["LeftParotid", "RightParotid"]], 1, prob)


def test_a_label_map_that_was_resampled_smoothly_is_refused():
    unpack = UnpackStructuresd("s", {"a": "empty", "b": "empty"})
    case = {"case": "A", "label_map": True, "s": torch.tensor([[[[0.0, 1.0, 2.0]]]])}
    assert unpack(case)["s"][:, 0, 0].tolist() == [[0, 1, 0], [0, 0, 1]]
    with pytest.raises(DataError, match="case A: the label map has values between its labels"):
        unpack(case | {"s": torch.tensor([[[[0.0, 0.7, 1.5]]]])})


def test_mirror_flips_volumes_and_swaps_paired_structures():
    image, label = torch.rand(1, 3, 4, 2), torch.rand(4, 3, 4, 2)
    out = mirror(1.0)({"image": image, "label": label})
    assert torch.equal(out["image"], image.flip(2))
    assert torch.equal(out["label"], label.flip(2)[[0, 2, 1, 3]])
    twice = mirror(1.0)(out)
    assert torch.equal(twice["label"], label)


def test_mirror_follows_its_random_state():
    image = torch.rand(1, 2, 4, 2)

    def flips(seed: int) -> list[bool]:
        transform = mirror(0.5).set_random_state(seed)
        return [not torch.equal(transform({"image": image})["image"], image) for _ in range(20)]

    assert flips(1) == flips(1)
    assert 0 < sum(flips(1)) < 20


def test_mirror_refuses_a_pair_that_is_not_there():
    with pytest.raises(ConfigError, match="Cord, LeftParotid"):
        RandMirrorPatientd("image", "label", list(RULES), [["LeftParotid", "LeftLung"]])


def test_label_map_paints_in_the_given_order():
    masks = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]]).reshape(4, 4, 1, 1).float()
    names = list(RULES)
    last_wins = LabelMapd("m", "l", names, names)({"m": masks})["l"]
    assert last_wins.flatten().tolist() == [1, 4, 2, 0]
    other = LabelMapd("m", "l", names, ["PTV70", "RightParotid", "LeftParotid", "Cord"])({"m": masks})["l"]
    assert other.flatten().tolist() == [1, 1, 2, 0]
    with pytest.raises(ConfigError, match="painting order"):
        LabelMapd("m", "l", names, names[:2])
