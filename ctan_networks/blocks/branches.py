# SPDX-License-Identifier: Apache-2.0
"""What follows the bottleneck for one task: decoder and dense head, or pooling and a small MLP."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from monai.networks.layers import Conv, get_act_layer
from torch import nn

from ctan_networks.blocks.decoder import Decoder

__all__ = ["ClassificationBranch", "DenseBranch"]

# A structure fills a small part of a volume. Starting at this probability (Lin et al., ICCV 2017, sec. 4.1) keeps the
# sum over the background from drowning the structure in the Dice loss of the first steps.
PRIOR = 0.01


class DenseBranch(nn.Module):
    """Decoder and head of a segmentation or regression task.

    The head is the stem's counterpart: each position of the finest features gives a block of ``stem_stride`` voxels a
    side, so that the output has the input's size.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of the encoder levels, finest first, and of the bottleneck, last.
        out_channels: channels of the output.
        kind: "segmentation" (its logits start at a small probability) or "regression".
        stem_stride: stride of the encoder's stem.
        norm: normalisation, as in MONAI.
        act: activation, as in MONAI.
        dropout: dropout probability.

    """

    def __init__(
        self,
        spatial_dims: int,
        channels: Sequence[int],
        out_channels: int,
        kind: str,
        stem_stride: int = 1,
        norm: str | tuple = "INSTANCE",
        act: str | tuple = "LEAKYRELU",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.decoder = Decoder(spatial_dims, channels, norm, act, dropout)
        self.head = Conv[Conv.CONVTRANS, spatial_dims](
            channels[0], out_channels, kernel_size=stem_stride, stride=stem_stride
        )
        self.start_bias = math.log(PRIOR / (1 - PRIOR)) if kind == "segmentation" else 0.0

    def forward(self, x: torch.Tensor, skips: list[torch.Tensor]) -> torch.Tensor:
        """Bottleneck features and skips to ``[B, out_channels, *spatial]``."""
        return self.head(self.decoder(x, skips))


class ClassificationBranch(nn.Module):
    """Global average pool of the bottleneck features, then a two-layer perceptron.

    Args:
        in_channels: channels of the bottleneck.
        out_channels: classes.
        act: activation, as in MONAI.
        dropout: dropout probability.

    """

    def __init__(self, in_channels: int, out_channels: int, act: str | tuple = "LEAKYRELU", dropout: float = 0.0):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(in_channels, in_channels),
            get_act_layer(act),
            nn.Dropout(dropout),
            nn.Linear(in_channels, out_channels),
        )

    def forward(self, x: torch.Tensor, skips: list[torch.Tensor]) -> torch.Tensor:
        """Bottleneck features to logits ``[B, out_channels]``; the skips are not used."""
        return self.mlp(x.flatten(2).mean(-1))
