# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from ctan_networks.errors import ConfigError
from ctan_networks.losses import MaskedCrossEntropyLoss

CLASSES = torch.tensor([2, -1, 0, 1, -1])


def make():
    return torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()


@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 4.0]])
def test_mean_over_labelled_cases(column, weight):
    logits = make()
    target = CLASSES[:, None] if column else CLASSES
    value = MaskedCrossEntropyLoss(weight)(logits, target)
    x, known = logits.detach().double().numpy(), [0, 2, 3]
    each = [np.log(np.exp(x[i]).sum()) - x[i, CLASSES[i]] for i in known]
    weights = None if weight is None else [weight[CLASSES[i]] for i in known]
    assert value.item() == pytest.approx(np.average(each, weights=weights), rel=1e-5)
    value.backward()
    assert (logits.grad[[1, 4]] == 0).all() and (logits.grad[known] != 0).all()


def test_label_smoothing_as_torch():
    logits = make()
    value = MaskedCrossEntropyLoss(label_smoothing=0.1)(logits, CLASSES)
    known = CLASSES >= 0
    expected = torch.nn.CrossEntropyLoss(label_smoothing=0.1)(logits[known], CLASSES[known])
    torch.testing.assert_close(value, expected)


def test_nothing_labelled_is_zero_with_graph():
    logits, target = make(), torch.full((5,), -1)
    loss = MaskedCrossEntropyLoss()
    value = loss(logits, target)
    value.backward()
    assert value == 0 and (logits.grad == 0).all()
    assert not loss.known(target) and loss.known(CLASSES)


def test_bfloat16_autocast_and_meta_tensor():
    low = make().detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = MaskedCrossEntropyLoss([1, 2, 3])(MetaTensor(low), MetaTensor(CLASSES))
    assert type(value) is torch.Tensor and value.dtype == torch.float32
    torch.testing.assert_close(value, MaskedCrossEntropyLoss([1, 2, 3])(low.float(), CLASSES))


def test_weights_are_no_state():
    assert not MaskedCrossEntropyLoss([1, 2, 3]).state_dict()


@pytest.mark.parametrize("target", [CLASSES[:4], CLASSES.float(), torch.zeros(5, 3, dtype=torch.long)])
def test_wrong_target_is_refused(target):
    with pytest.raises(ConfigError, match="class"):
        MaskedCrossEntropyLoss()(make(), target)


def test_wrong_smoothing_is_refused():
    with pytest.raises(ConfigError, match="label_smoothing"):
        MaskedCrossEntropyLoss(label_smoothing=1)
