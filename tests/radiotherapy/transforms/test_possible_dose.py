# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy import PossibleDosed


def test_the_mask_counts_and_else_the_body():
    dose, body, mask = torch.full((1, 2, 2, 1), 3.0), torch.zeros((1, 2, 2, 1)), torch.zeros((1, 2, 2, 1))
    body[0, 0], mask[0, :, 0] = 1, 1
    limit = PossibleDosed("dose")
    with_mask = limit({"dose": dose, "body": body, "mask": mask})
    assert torch.equal(with_mask["dose"], 3 * mask) and with_mask["reference_mask"] is mask
    without = limit({"dose": dose, "body": body})
    assert torch.equal(without["dose"], 3 * body) and without["reference_mask"] is body
    assert (dose == 3).all()


def test_a_mask_on_another_grid_is_refused():
    dose = MetaTensor(torch.ones((1, 4, 4, 4)), affine=torch.eye(4))
    moved = MetaTensor(torch.ones((1, 4, 4, 4)), affine=torch.diag(torch.tensor([2.0, 1, 1, 1])))
    for mask in (moved, torch.ones((1, 4, 4, 5))):
        with pytest.raises(DataError, match="case a: the mask .* is not on the image's grid"):
            PossibleDosed("dose")({"case": "a", "dose": dose, "mask": mask})
