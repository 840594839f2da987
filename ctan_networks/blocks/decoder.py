# SPDX-License-Identifier: Apache-2.0
"""A task's own decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.layers import Conv
from torch import nn

from ctan_networks.blocks.convolution import conv_norm_act

__all__ = ["Decoder"]


class DecoderLevel(nn.Module):
    """Upsample by 2, join the skip features, convolve once (one convolution, as in nnU-Net's residual encoder nets)."""

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        skip_channels: int,
        norm: str | tuple = "INSTANCE",
        act: str | tuple = "LEAKYRELU",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.up = Conv[Conv.CONVTRANS, spatial_dims](in_channels, skip_channels, kernel_size=2, stride=2)
        self.conv = conv_norm_act(spatial_dims, 2 * skip_channels, skip_channels, norm=norm, act=act, dropout=dropout)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        return self.conv(torch.cat([self.up(x), skip], dim=1))


class Decoder(nn.Module):
    """From the bottleneck up to the first encoder level's size.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of the encoder levels, finest first, and of the bottleneck, last.
        norm: normalisation, as in MONAI.
        act: activation, as in MONAI.
        dropout: dropout probability.

    """

    def __init__(
        self,
        spatial_dims: int,
        channels: Sequence[int],
        norm: str | tuple = "INSTANCE",
        act: str | tuple = "LEAKYRELU",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            DecoderLevel(spatial_dims, channels[j + 1], channels[j], norm, act, dropout)
            for j in reversed(range(len(channels) - 1))
        )

    def forward(self, x: torch.Tensor, skips: list[torch.Tensor]) -> torch.Tensor:
        """``x``: bottleneck features; ``skips``: the levels' features, finest first. Deeper levels are not used."""
        for i, level in enumerate(self.levels):
            x = level(x, skips[len(self.levels) - 1 - i])
        return x
