# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from ctan_networks.transforms import BinaryMaskd


@pytest.mark.parametrize(
    ("grey", "inside"),
    [
        ([0, 255, 128, 127], [0, 1, 1, 0]),
        ([0, 1, 1, 0], [0, 1, 1, 0]),
        ([0, 0, 0, 0], [0, 0, 0, 0]),
        ([0, 1, 2, 255], [0, 0, 0, 1]),
    ],
)
def test_both_ways_of_writing_a_mask(grey, inside):
    mask = BinaryMaskd("mask")({"mask": torch.tensor(grey).reshape(1, 2, 2)})["mask"]
    assert mask.flatten().tolist() == inside and mask.dtype == torch.float32
