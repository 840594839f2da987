# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.losses import DiceLoss

from ctan_networks.errors import ConfigError
from ctan_networks.losses import DiceBCELoss


def make(shape=(2, 3, 6, 5, 4), seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape, generator=generator).mul(2).requires_grad_()
    return logits, (torch.rand(shape, generator=generator) > 0.6).float()


def reference(logits, target, dice_weight=1.0, bce_weight=1.0, smooth=1e-5):
    """Per (case, structure) from the definition, in float64 and with the known voxels alone."""
    dice, bce = [], []
    for b, s in np.ndindex(*target.shape[:2]):
        x, t = logits[b, s].detach().double().numpy().ravel(), target[b, s].double().numpy().ravel()
        x, t = x[~np.isnan(t)], t[~np.isnan(t)]
        p = 1 / (1 + np.exp(-x))
        bce.extend(-(t * np.log(p) + (1 - t) * np.log(1 - p)))
        if t.sum() > 0:
            dice.append(1 - (2 * (p * t).sum() + smooth) / (p.sum() + t.sum() + smooth))
    return dice_weight * (np.mean(dice) if dice else 0.0) + bce_weight * np.mean(bce)


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("shape", [(2, 3, 6, 5, 4), (3, 1, 8, 8)])
def test_equals_monai_where_all_is_known_and_not_empty(batch, shape):
    logits, target = make(shape)
    expected = DiceLoss(sigmoid=True, batch=batch)(logits, target) + torch.nn.BCEWithLogitsLoss()(logits, target)
    (expected_gradient,) = torch.autograd.grad(expected, logits)
    loss = DiceBCELoss(batch=batch)(logits, target)
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient, expected_gradient)


def test_include_empty_equals_monai():
    logits, target = make()
    target[1, 2] = 0
    expected = DiceLoss(sigmoid=True)(logits, target) + torch.nn.BCEWithLogitsLoss()(logits, target)
    torch.testing.assert_close(DiceBCELoss(include_empty=True)(logits, target), expected)
    assert DiceBCELoss()(logits, target) < expected


def unknown_structure(target):
    target[0, 1] = torch.nan


def unknown_structure_of_all(target):
    target[:, 1] = torch.nan


def unknown_case(target):
    target[1] = torch.nan


def unknown_voxels(target):
    target[0, 2, :3] = torch.nan
    target[1, 0, ..., 2] = torch.nan


def unknown_and_empty(target):
    target[0, 1] = torch.nan
    target[1, 1] = 0
    target[0, 2, 3:] = torch.nan
    target[0, 2, :3] = 0


@pytest.mark.parametrize(
    "hide", [unknown_structure, unknown_structure_of_all, unknown_case, unknown_voxels, unknown_and_empty]
)
@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5, 2.0)])
def test_unknown_adds_nothing(hide, weights):
    logits, target = make()
    hide(target)
    loss = DiceBCELoss(*weights)(logits, target)
    assert loss.item() == pytest.approx(reference(logits, target, *weights), rel=1e-5)
    loss.backward()
    unknown = torch.isnan(target)
    assert (logits.grad[unknown] == 0).all()
    assert (logits.grad[~unknown] != 0).all()
    # What the logits are there does not matter, not even an overflow.
    with torch.no_grad():
        logits[unknown] = 1e30
    assert DiceBCELoss(*weights)(logits, target).item() == loss.item()


def test_batch_dice_sums_known_cases():
    logits, target = make()
    target[0, 1] = torch.nan
    target[1, 2] = 0  # empty in one case only: the structure still counts over the batch
    p = torch.sigmoid(logits.detach())
    dice = []
    for s, cases in ((0, [0, 1]), (1, [1]), (2, [0, 1])):
        overlap = (p[cases, s] * target[cases, s]).sum()
        dice.append(1 - (2 * overlap + 1e-5) / (p[cases, s].sum() + target[cases, s].sum() + 1e-5))
    loss = DiceBCELoss(bce_weight=0, batch=True)(logits, target)
    torch.testing.assert_close(loss.detach(), torch.stack(dice).mean())


def test_empty_reference_still_pushes_the_logits_down():
    logits, target = make((1, 1, 4, 4, 4))
    DiceBCELoss()(logits, target.zero_()).backward()
    assert (logits.grad > 0).all()


def test_nothing_known_is_zero_with_graph():
    logits, target = make()
    target.fill_(torch.nan)
    loss = DiceBCELoss()
    value = loss(logits, target)
    value.backward()
    assert value == 0 and (logits.grad == 0).all()
    assert not loss.known(target)
    target[1, 1, 0, 0, 0] = 0
    assert loss.known(target)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool])
def test_integer_target_and_meta_tensor(dtype):
    logits, target = make()
    expected = DiceBCELoss()(logits, target)
    value = DiceBCELoss()(MetaTensor(logits), MetaTensor(target.to(dtype)))
    assert type(value) is torch.Tensor
    torch.testing.assert_close(value, expected)


def test_bfloat16_is_summed_in_float32():
    logits, target = make((1, 1, 64, 64, 64))
    low = logits.detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = DiceBCELoss()(low, target)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, DiceBCELoss()(low.float(), target))
    value.backward()
    assert low.grad.isfinite().all()


def test_gradient_matches_finite_differences():
    logits, target = make((2, 2, 3, 3))
    target[0, 1] = torch.nan
    target[1, 0, 0] = torch.nan
    x = logits.detach().double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: DiceBCELoss()(x, target), x)


@pytest.mark.parametrize("shape", [(2, 4, 6, 5, 4), (2, 3, 6, 5, 5), (2, 3)])
def test_other_shape_is_refused(shape):
    with pytest.raises(ConfigError, match="same shape"):
        DiceBCELoss()(make()[0], torch.zeros(shape))


def test_memory_is_lean():
    """Besides logits, target and gradient, about one array of probabilities is kept for the gradient."""
    logits, target = make((1, 10, 32, 32, 32))
    saved = {}
    inputs = {logits.untyped_storage().data_ptr(), target.untyped_storage().data_ptr()}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in inputs:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = DiceBCELoss()(logits, target)
    assert value.requires_grad
    assert sum(saved.values()) <= 1.1 * logits.numel() * 4
