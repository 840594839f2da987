# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from ctan_networks.errors import ConfigError
from ctan_networks.losses import MaskedL1Loss


def make(shape=(2, 1, 5, 4, 3)):
    generator = torch.Generator().manual_seed(0)
    prediction = torch.rand(shape, generator=generator).requires_grad_()
    dose = 70 * torch.rand(shape, generator=generator)
    return prediction, dose, (torch.rand(shape, generator=generator) > 0.5).float()


def reference(prediction, dose, mask, scale, outside):
    x, y, m = (a.detach().double().numpy().ravel() for a in (prediction, dose, mask))
    weight = np.where(m > 0, 1.0, outside)
    known = ~np.isnan(y)
    return np.average(np.abs(x[known] - y[known] / scale), weights=weight[known])


def test_worked_by_hand():
    prediction, dose = torch.tensor([[[0.5, 1.0, 0.0]]]), torch.tensor([[[70.0, 35.0, 7.0]]])
    mask = torch.tensor([[[1, 1, 0]]])
    # |0.5 - 1|, |1 - 0.5|, 0.5 * |0 - 0.1| over 1 + 1 + 0.5
    value = MaskedL1Loss(scale=70, outside_weight=0.5)(prediction, dose, mask)
    assert value.item() == pytest.approx((0.5 + 0.5 + 0.05) / 2.5)


def test_without_mask_it_is_plain_l1():
    prediction, dose, _ = make()
    expected = torch.nn.functional.l1_loss(prediction, dose / 70)
    torch.testing.assert_close(MaskedL1Loss(scale=70)(prediction, dose), expected)


@pytest.mark.parametrize("outside", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("mask_type", [torch.float32, torch.uint8, torch.bool])
def test_unknown_adds_nothing(outside, mask_type):
    prediction, dose, mask = make()
    dose[0, 0, 2] = torch.nan
    dose[1, ..., 1] = torch.nan
    loss = MaskedL1Loss(scale=70, outside_weight=outside)
    value = loss(prediction, dose, mask.to(mask_type))
    assert value.item() == pytest.approx(reference(prediction, dose, mask, 70, outside), rel=1e-5)
    value.backward()
    unknown = torch.isnan(dose)
    assert (prediction.grad[unknown] == 0).all()
    assert prediction.grad.isfinite().all()
    assert ((prediction.grad != 0) == (~unknown & ((mask > 0) | (outside > 0)))).all()


def test_unknown_case():
    prediction, dose, mask = make()
    dose[1] = torch.nan
    value = MaskedL1Loss(70)(prediction, dose, mask)
    torch.testing.assert_close(value, MaskedL1Loss(70)(prediction[:1], dose[:1], mask[:1]))


def test_nothing_known_is_zero_with_graph():
    prediction, dose, mask = make()
    loss = MaskedL1Loss(scale=70)
    unknown = torch.full_like(dose, torch.nan)
    value = loss(prediction, unknown, mask)
    value.backward()
    assert value == 0 and (prediction.grad == 0).all()
    assert not loss.known(unknown, mask) and loss.known(dose, mask)
    # Where nothing counts outside the mask, an empty mask leaves nothing that is known.
    inside_only, empty = MaskedL1Loss(scale=70, outside_weight=0), torch.zeros_like(mask)
    assert not inside_only.known(dose, empty) and inside_only.known(dose)
    assert inside_only(prediction, dose, empty) == 0


def test_mask_with_one_channel_serves_all_channels():
    prediction, dose, _ = make((2, 2, 4, 4))
    mask = (torch.arange(32).reshape(2, 1, 4, 4) % 3 == 0).float()
    value = MaskedL1Loss(70)(prediction, dose, mask)
    assert value.item() == pytest.approx(reference(prediction, dose, mask.expand(2, 2, 4, 4), 70, 0.1), rel=1e-5)


def test_bfloat16_autocast_and_meta_tensor():
    prediction, dose, mask = make()
    low = prediction.detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = MaskedL1Loss(70)(MetaTensor(low), MetaTensor(dose), MetaTensor(mask))
    assert type(value) is torch.Tensor and value.dtype == torch.float32
    torch.testing.assert_close(value, MaskedL1Loss(70)(low.float(), dose, mask))


def test_wrong_arguments_are_refused():
    prediction, dose, mask = make()
    with pytest.raises(ConfigError, match="same shape"):
        MaskedL1Loss()(prediction, dose[:, :, 1:])
    with pytest.raises(ConfigError, match="mask"):
        MaskedL1Loss()(prediction, dose, mask[:, :, 1:])
    with pytest.raises(ConfigError, match="scale"):
        MaskedL1Loss(scale=0)
    with pytest.raises(ConfigError, match="outside_weight"):
        MaskedL1Loss(outside_weight=-1)
