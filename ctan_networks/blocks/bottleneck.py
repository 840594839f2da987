# SPDX-License-Identifier: Apache-2.0
"""Cross-task attention at the bottleneck: where one task's tokens resemble each other, the other task looks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.blocks import Convolution
from torch import nn

__all__ = ["CrossTaskBottleneck"]


class TokenAttention(nn.Module):
    """One task's side of the bottleneck: its values, its temperature, and the learned scale of its residual."""

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        self.value = Convolution(spatial_dims, channels, channels, kernel_size=1, conv_only=True)
        # Cosines lie in [-1, 1]; a softmax over hundreds of them is flat without a temperature. 10 as in Swin v2
        # (Liu et al., CVPR 2022, scaled cosine attention), learned from there.
        self.log_temperature = nn.Parameter(torch.tensor(2.3026))
        # 0: the network starts as if there were no bottleneck attention.
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, own: torch.Tensor, other_tokens: torch.Tensor) -> torch.Tensor:
        values = self.value(own).flatten(2).transpose(1, 2)
        queries = other_tokens * self.log_temperature.exp()
        seen = F.scaled_dot_product_attention(
            queries.unsqueeze(1), other_tokens.unsqueeze(1), values.unsqueeze(1), scale=1.0
        )
        return self.scale * seen.squeeze(1).transpose(1, 2).reshape(own.shape)


class CrossTaskBottleneck(nn.Module):
    """Cross-task attention on the deepest features.

    The attention map of task t' is the softmax of the cosine similarity of its own tokens (one token a voxel). It is
    applied to the values of task t and added to ``B_t`` with a learned scale that starts at 0; with more than two
    tasks the mean over all t' is added.

    Args:
        spatial_dims: 2 or 3.
        tasks: task names, at least two.
        channels: channels of each task's features.

    """

    def __init__(self, spatial_dims: int, tasks: Sequence[str], channels: int) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({task: TokenAttention(spatial_dims, channels) for task in tasks})

    def forward(self, features: list[torch.Tensor]) -> list[torch.Tensor]:
        """Take and return each task's features ``[B, C, *spatial]``, in the order of the tasks."""
        tokens = [F.normalize(b.flatten(2).transpose(1, 2), dim=-1) for b in features]
        out: list[torch.Tensor] = []
        for i, attention in enumerate(self.attention.values()):
            own = features[i]
            seen = torch.zeros_like(own)
            for j in range(len(features)):
                if j != i:
                    seen = seen + attention(own, tokens[j])
            out.append(own + seen / (len(features) - 1))
        return out
