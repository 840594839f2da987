# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ctan_networks.errors import ConfigError
from ctan_networks.nets import make_network
from ctan_networks.reports.saliency import grad_cam

TASKS = {
    "outline": {"kind": "segmentation", "out_channels": 1},
    "diagnosis": {"kind": "classification", "out_channels": 3},
}


def make(architecture: str, dims: int) -> nn.Module:
    options: dict = {"channels": [4, 8, 8], "norm": ["GROUP", {"num_groups": 2}], "spatial_dims": dims}
    return make_network(architecture, tasks=TASKS, task="diagnosis", in_channels=2, **options)


def by_hand(network: nn.Module, image: torch.Tensor, index: int) -> np.ndarray:
    """Grad-CAM as its paper says it, with autograd alone."""
    kept = []
    hook = network.embed["diagnosis"].register_forward_hook(lambda module, given, made: kept.append(made))
    score = network(image)["diagnosis"][0, index]
    hook.remove()
    (gradient,) = torch.autograd.grad(score, kept[0])
    spatial = tuple(range(2, image.ndim))
    coarse = F.relu((gradient.mean(spatial, keepdim=True) * kept[0]).sum(1, keepdim=True))
    mode = "bilinear" if image.ndim == 4 else "trilinear"
    fine = F.interpolate(coarse, size=network.pad(image).shape[2:], mode=mode, align_corners=False)
    found = fine[(0, 0, *(slice(n) for n in image.shape[2:]))].detach().numpy()
    return found / found.max() if found.max() > 0 else found


@pytest.mark.parametrize(("architecture", "dims"), [("ctan", 3), ("mtan", 2), ("hps", 3), ("stl", 2)])
def test_agrees_with_autograd_and_leaves_the_network_as_it_was(architecture, dims):
    network = make(architecture, dims).eval()
    image = torch.randn(1, 2, *((17, 12, 9)[:dims]), generator=torch.Generator().manual_seed(0))
    expected = [by_hand(network, image, index) for index in range(3)]
    network.train().requires_grad_(False)
    with torch.inference_mode():
        found = [grad_cam(network, image, "diagnosis", index) for index in range(3)]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == image.shape[2:] and ours.min() >= 0 and ours.max() in (0, 1)
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert any(ours.any() for ours in found)
    assert network.training and not image.requires_grad
    assert not any(p.requires_grad or p.grad is not None for p in network.parameters())
    assert not any(m._forward_hooks or m._backward_hooks for m in network.modules())


def test_errors_say_what_is_wrong():
    image = torch.zeros(1, 2, 16, 16)
    for network in (nn.Conv2d(2, 2, 1), make("hps", 2)):
        with pytest.raises(ConfigError, match="'embed.severity'"):
            grad_cam(network, image, "severity", 0)
    stacked = make("hps", 2)
    stacked.stacked = True
    with pytest.raises(ConfigError, match="dictionary of its tasks"):
        grad_cam(stacked, image, "diagnosis", 0)
