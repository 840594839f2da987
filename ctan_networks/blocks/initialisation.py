# SPDX-License-Identifier: Apache-2.0
"""Initial weights that depend on (seed, parameter name) alone."""

from __future__ import annotations

import math

import torch
from torch import nn

from ctan_networks.utils import derive_seed

__all__ = ["initialise_parameters"]


def initialise_parameters(network: nn.Module, seed: int) -> None:
    """Draw all convolution and linear weights of a network anew, each from its own generator.

    A parameter that two architectures both have (the shared encoder, a decoder) starts with the same values in both,
    whatever else they hold. Weights and biases follow He et al. (ICCV 2015) for the leaky slope of PyTorch's default,
    norms start at scale 1 and shift 0; other parameters keep the values their module gave them. A module with an
    attribute ``start_bias`` has its ``head`` start near that constant.
    """
    for name, module in network.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            generator = torch.Generator().manual_seed(derive_seed(seed, f"{name}.weight"))
            transposed = isinstance(module, nn.modules.conv._ConvTransposeNd)
            # A transposed convolution whose kernel is its stride reaches each voxel once.
            fan_in = module.weight.shape[0] if transposed else math.prod(module.weight.shape[1:])
            with torch.no_grad():
                module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * math.sqrt(2.0 / fan_in))
                if module.bias is not None:
                    module.bias.zero_()
        elif weight is not None and hasattr(module, "reset_parameters"):
            module.reset_parameters()
    for module in network.modules():
        start_bias = getattr(module, "start_bias", None)
        if start_bias is not None:
            with torch.no_grad():
                module.head.weight.mul_(0.1)  # type: ignore[union-attr, operator]
                module.head.bias.fill_(start_bias)  # type: ignore[union-attr, operator]
