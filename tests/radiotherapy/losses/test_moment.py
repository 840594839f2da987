# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch

from ctan_networks.errors import ConfigError
from ctan_networks.losses import MaskedL1Loss, MultiTaskLoss
from ctan_networks.radiotherapy.losses import DoseLoss, MomentLoss, generalised_mean_doses

EXPONENTS = {"Cord": [5, 10], "Parotid": [1, 2], "PTV": [2, 4, 6, -8]}


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    target = torch.rand((2, 1, 6, 7, 8), generator=generator) * 60 + 10
    masks = (torch.rand((2, 3, 6, 7, 8), generator=generator) > 0.7).float()
    return target / 70 + 0.1 * torch.rand(target.shape, generator=generator), target, masks


@pytest.mark.parametrize("a", [-10.0, -1.0, 0.5, 1.0, 2.0, 10.0])
def test_against_the_definition(case, a):
    dose, inside = case[0][0, 0], case[2][0, 0] > 0.5
    values = dose[inside].numpy().astype(np.float64)
    assert generalised_mean_doses(dose, inside, [a]).item() == pytest.approx(np.mean(values**a) ** (1 / a), rel=1e-5)


def test_limits_are_mean_minimum_and_maximum(case):
    dose, inside = case[0][0, 0], case[2][0, 0] > 0.5
    low, mean, high = generalised_mean_doses(dose, inside, [-2000, 1, 2000])
    values = dose[inside]
    assert mean.item() == pytest.approx(values.mean().item(), rel=1e-6)
    assert low.item() == pytest.approx(values.min().item(), rel=5e-3)
    assert high.item() == pytest.approx(values.max().item(), rel=5e-3)


def test_loss_is_the_mean_over_structures_of_mean_squared_differences(case):
    prediction, target, masks = case
    expected = []
    for b in range(2):
        for s, exponents in enumerate(EXPONENTS.values()):
            inside = masks[b, s].numpy() > 0.5
            p, t = (x[b, 0].numpy().astype(np.float64)[inside] for x in (prediction, target / 70))
            expected.append(np.mean([(np.mean(p**a) ** (1 / a) - np.mean(t**a) ** (1 / a)) ** 2 for a in exponents]))
    assert MomentLoss(EXPONENTS, 70)(prediction, target, masks).item() == pytest.approx(np.mean(expected), rel=1e-4)


def test_equal_dvhs_cost_nothing_wherever_the_dose_lies(case):
    _, target, masks = case
    masks[:, 1:] = 0
    shuffled = target.clone()
    for b in range(2):
        inside = masks[b, 0] > 0.5
        shuffled[b, 0][inside] = target[b, 0][inside].flip(0)
    assert MomentLoss(EXPONENTS, 70)(shuffled / 70, target, masks).item() == pytest.approx(0, abs=1e-10)


def test_unknown_and_empty_structures_and_doses_add_nothing(case):
    prediction, target, masks = case
    loss = MomentLoss(EXPONENTS, 70)
    alone = MomentLoss({"Cord": [5, 10], "Parotid": [], "PTV": []}, 70)(prediction[:1], target[:1], masks[:1])
    masks[:, 1, 0, 0, 0], masks[:, 2] = torch.nan, 0
    target[1] = torch.nan
    assert loss(prediction, target, masks).item() == pytest.approx(alone.item())
    prediction.requires_grad_()
    nothing = loss(prediction, target, torch.zeros_like(masks))
    nothing.backward()
    assert nothing.item() == 0 and prediction.grad.abs().sum() == 0


def test_gradients_are_finite_where_there_is_no_dose(case):
    _, target, masks = case
    prediction = torch.zeros_like(target, requires_grad=True)
    MomentLoss(EXPONENTS, 70)(prediction, target, masks).backward()
    assert prediction.grad.isfinite().all()


def test_gradient_descent_brings_the_moments_together(case):
    prediction, target, masks = case
    prediction = prediction.clone().requires_grad_()
    optimizer = torch.optim.Adam([prediction], lr=0.01)
    loss = MomentLoss(EXPONENTS, 70)
    start = loss(prediction, target, masks).item()
    for _ in range(60):
        optimizer.zero_grad()
        loss(prediction, target, masks).backward()
        optimizer.step()
    assert loss(prediction, target, masks).item() < 0.05 * start


def test_wrong_arguments_are_named(case):
    with pytest.raises(ConfigError, match="exponents"):
        MomentLoss({"PTV": [0]})
    with pytest.raises(ConfigError, match="do not fit"):
        MomentLoss(EXPONENTS)(case[0], case[1], case[2][:, :2])
    with pytest.raises(ConfigError, match="needs the structures"):
        DoseLoss(MaskedL1Loss(), MomentLoss(EXPONENTS))(case[0], case[1])


def test_dose_loss_adds_moments_after_the_first_epochs_and_knows_where_it_is(case):
    prediction, target, masks = case
    l1, moments = MaskedL1Loss(scale=70), MomentLoss(EXPONENTS, 70)
    loss = MultiTaskLoss({"dose": DoseLoss(l1, moments, 3.0, 1)}, masks={"dose": ["mask", "structures"]})
    label = {"dose": target, "mask": torch.ones_like(target), "structures": masks}
    plain = l1(prediction, target, label["mask"])
    assert loss({"dose": prediction}, label).item() == pytest.approx(plain.item())
    loss.end_epoch()
    both = plain + 3 * moments(prediction, target, masks)
    assert loss({"dose": prediction}, label).item() == pytest.approx(both.item())
    resumed = MultiTaskLoss({"dose": DoseLoss(l1, moments, 3.0, 1)}, masks={"dose": ["mask", "structures"]})
    resumed.load_state_dict(loss.state_dict())
    assert resumed({"dose": prediction}, label).item() == pytest.approx(both.item())
