# SPDX-License-Identifier: Apache-2.0
"""The encoder that all tasks share: the plain one, and what any encoder has."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.layers import Conv, Pool
from torch import nn

from ctan_networks.blocks.convolution import conv_norm_act
from ctan_networks.blocks.feature_maps import parameter_stages
from ctan_networks.errors import ConfigError

__all__ = ["Encoder", "EncoderLevel", "SharedEncoder"]


class Encoder(nn.Module):
    """What the networks need of an encoder.

    ``forward`` gives U and P of each level, finest first, and what enters the bottleneck. A stage of the encoder is
    what the P of a level depends on and no finer one.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        channels: channels of each level.
        stem_stride: stride of the first level.

    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: Sequence[int], stem_stride: int) -> None:
        super().__init__()
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.channels = tuple(channels)
        self.stem_stride = stem_stride
        self.frozen: list[str] = []
        self.pool = Pool[Pool.MAX, spatial_dims](kernel_size=2)

    def freeze(self, stages: int) -> None:
        """Freeze the first stages: their parameters are not trained, and their modules stay in evaluation mode.

        So running statistics of batch norm stay as they are, whatever mode the network is in.

        Args:
            stages: number of stages, from 0 to the number of levels.

        Raises:
            ConfigError: when there are not so many.

        """
        if not 0 <= stages <= len(self.channels):
            raise ConfigError(f"freeze_encoder must be 0 to {len(self.channels)} (stages), got {stages!r}.")
        self.frozen = []
        if stages:
            found = parameter_stages(self, self.spatial_dims, self.in_channels, len(self.channels), self.stem_stride)
            fixed = {name for name, stage in found.items() if stage < stages}
            for name, parameter in self.named_parameters():
                parameter.requires_grad_(name not in fixed)
            for name, module in self.named_modules():
                own = [f"{name}.{part}" for part, _ in module.named_parameters()]
                inside = name.startswith(tuple(f"{outer}." for outer in self.frozen))
                if name and own and fixed.issuperset(own) and not inside:
                    self.frozen.append(name)
        self.train(self.training)

    def train(self, mode: bool = True) -> Encoder:
        """As of ``torch.nn.Module``, but frozen stages stay in evaluation mode."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self


class EncoderLevel(nn.Module):
    """Two convolutions: ``U = conv(S)``, ``P = conv(U)``. Task attention looks at U and gates P."""

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        norm: str | tuple = "INSTANCE",
        act: str | tuple = "LEAKYRELU",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.first = conv_norm_act(spatial_dims, in_channels, out_channels, norm=norm, act=act, dropout=dropout)
        self.second = conv_norm_act(spatial_dims, out_channels, out_channels, norm=norm, act=act, dropout=dropout)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        u = self.first(x)
        return u, self.second(u)


class SharedEncoder(Encoder):
    """Stem and encoder levels, each followed by a max pool of 2.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        channels: output channels of each level.
        stem_stride: edge of the block of voxels that the stem folds into channels. 1 keeps full resolution and
            needs no stem. With 2, one strided convolution sees each 2 x 2 (x 2) block once, which is the same as
            moving the block's voxels to channels and mixing them: nothing is lost, and the network behind it runs at
            half the resolution.
        norm: normalisation, as in MONAI.
        act: activation, as in MONAI.
        dropout: dropout probability.

    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        channels: Sequence[int],
        stem_stride: int = 1,
        norm: str | tuple = "INSTANCE",
        act: str | tuple = "LEAKYRELU",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(spatial_dims, in_channels, channels, stem_stride)
        self.stem: nn.Module = nn.Identity()
        width = in_channels
        if stem_stride > 1:
            width = channels[0]
            self.stem = Conv[Conv.CONV, spatial_dims](in_channels, width, kernel_size=stem_stride, stride=stem_stride)
        self.levels = nn.ModuleList()
        for out_channels in channels:
            self.levels.append(EncoderLevel(spatial_dims, width, out_channels, norm, act, dropout))
            width = out_channels

    def forward(self, x: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor], torch.Tensor]:
        """Return the U and the P of each level, finest first, and the last level's pooled P."""
        us: list[torch.Tensor] = []
        ps: list[torch.Tensor] = []
        s = self.stem(x)
        for level in self.levels:
            u, p = level(s)
            us.append(u)
            ps.append(p)
            s = self.pool(p)
        return us, ps, s
