# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from monai.inferers import SimpleInferer, SlidingWindowInferer

from ctan_networks.engines import MixedPrecisionInferer, fast_bfloat16


class Heads(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(1, 4, 3, padding=1)
        self.seen = None

    def forward(self, x):
        y = self.conv(x)
        self.seen = y.dtype
        return {"dense": y, "vector": y.mean((2, 3))}


@pytest.mark.parametrize("enabled", [False, True])
def test_computes_in_bfloat16_and_hands_on_float32(enabled):
    net, x = Heads(), torch.randn(2, 1, 16, 16)
    out = MixedPrecisionInferer(SimpleInferer(), enabled)(x, net)
    assert net.seen == (torch.bfloat16 if enabled else torch.float32)
    reference = net(x)
    for name, value in out.items():
        assert value.dtype == torch.float32
        assert torch.allclose(value, reference[name], atol=0.03 if enabled else 0)


def test_gradients_are_float32():
    net = Heads()
    MixedPrecisionInferer(SimpleInferer())(torch.randn(2, 1, 16, 16), net)["dense"].mean().backward()
    assert net.conv.weight.grad.dtype == torch.float32
    assert net.conv.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("size", [(2, 2, 2), (2, 3, 3), (2, 4, 4), (4, 2, 2), (3, 3, 3)])
def test_gradients_of_convolutions_of_shallow_volumes(size):
    """bfloat16's rounding apart they are those of float32, where oneDNN left memory unwritten."""
    conv, x = torch.nn.Conv3d(64, 64, 3, padding=1), torch.randn(1, 64, *size)
    (reference,) = torch.autograd.grad(conv(x).square().mean(), conv.weight)
    for _ in range(3):
        junk = torch.full_like(conv.weight, 1e30)  # what the unwritten memory is likely to hold
        del junk
        out = MixedPrecisionInferer(SimpleInferer())(x, conv)
        (gradient,) = torch.autograd.grad(out.square().mean(), conv.weight)
        assert (gradient - reference).norm() < 0.02 * reference.norm()


def test_sliding_windows_and_single_tensors():
    conv = torch.nn.Conv2d(1, 2, 1)
    out = MixedPrecisionInferer(SlidingWindowInferer(roi_size=(8, 8)))(torch.randn(1, 1, 20, 12), conv)
    assert out.shape == (1, 2, 20, 12)
    assert out.dtype == torch.float32


def test_what_the_machine_says_is_a_plain_answer():
    assert fast_bfloat16() in (False, True)
