# SPDX-License-Identifier: Apache-2.0
"""What a module's feature maps look like, and which parameters they depend on, without computing any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

__all__ = ["feature_maps_of", "parameter_stages"]


def feature_maps_of(
    module: nn.Module, spatial_dims: int, in_channels: int, side: int
) -> tuple[Any, dict[str, torch.Tensor]]:
    """What a module gives for an image, as tensors without values (PyTorch's meta device).

    Args:
        module: any module of one argument.
        spatial_dims: spatial dimensions of the image.
        in_channels: its channels.
        side: its sides.

    Returns:
        The module's output, and the parameters by name that it depends on, both on the meta device.

    """
    state = {name: torch.empty_like(value, device="meta") for name, value in module.state_dict().items()}
    parameters = {name: state[name].requires_grad_() for name, _ in module.named_parameters()}
    state |= {name: torch.empty_like(value, device="meta") for name, value in module.named_buffers()}
    image = torch.empty(2, in_channels, *[side] * spatial_dims, device="meta")
    training = module.training
    module.eval()
    with torch.enable_grad():
        out = torch.func.functional_call(module, state | parameters, (image,))
    module.train(training)
    return out, parameters


def parameter_stages(
    encoder: nn.Module, spatial_dims: int, in_channels: int, levels: int, stem_stride: int = 1
) -> dict[str, int]:
    """The first feature map, counted from 0, that each parameter of an encoder acts on.

    Parameters that no feature map depends on have no entry.

    Args:
        encoder: gives a sequence of feature maps, or U, P and the bottleneck's input as
            :py:class:`ctan_networks.blocks.encoder.Encoder`.
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        levels: number of feature maps.
        stem_stride: stride of the first.

    """
    out, parameters = feature_maps_of(encoder, spatial_dims, in_channels, stem_stride * 2 ** (levels + 1))
    maps: Sequence[torch.Tensor] = out[1] if isinstance(out[0], Sequence) else out
    stages: dict[str, int] = {}
    for stage, feature_map in enumerate(maps):
        # Also where the network is made for inference, without gradients.
        with torch.enable_grad():
            gradients = torch.autograd.grad(
                feature_map.sum(), list(parameters.values()), retain_graph=True, allow_unused=True
            )
        for name, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                stages.setdefault(name, stage)
    return stages
