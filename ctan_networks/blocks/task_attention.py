# SPDX-License-Identifier: Apache-2.0
"""Attention of tasks on the features of one encoder level: each task's own (MTAN) or the other tasks' (CTAN)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks import Convolution
from torch import nn

from ctan_networks.blocks.convolution import conv_norm_act

__all__ = ["TaskAttention", "gate_of_others"]


def gate_of_others(masks: list[torch.Tensor], task: int) -> torch.Tensor:
    """Mean of the attention masks of all tasks but one. With two tasks: the other task's mask."""
    others: list[torch.Tensor] = []
    for i, mask in enumerate(masks):
        if i != task:
            others.append(mask)
    return torch.stack(others).mean(0) if len(others) > 1 else others[0]


class TaskAttention(nn.Module):
    """Soft attention masks of all tasks on one level of the shared encoder.

    For task t: ``F_t = embed_t(concat(U, H_t))`` (1x1 convolution; U alone at the first level),
    ``A_t = sigmoid(conv(act(norm(conv(F_t)))))`` in (0, 1). The gated features are ``A_t * P`` in MTAN
    (Liu et al., CVPR 2019, eq. 1) and ``A_t' * P`` in CTAN, t' being the other task (mean over the others).

    Args:
        spatial_dims: 2 or 3.
        tasks: task names.
        channels: channels of U and P.
        previous_channels: channels of H, the task's pooled features of the level above; 0 at the first level.
        cross: gate with the masks of the other tasks (CTAN) in place of the task's own (MTAN).
        norm: normalisation, as in MONAI.
        act: activation, as in MONAI.

    """

    __constants__ = ("cross",)

    def __init__(
        self,
        spatial_dims: int,
        tasks: Sequence[str],
        channels: int,
        previous_channels: int,
        cross: bool,
        norm: str | tuple = "INSTANCE",
        act: str | tuple = "LEAKYRELU",
    ) -> None:
        super().__init__()
        self.cross = cross
        hidden = max(channels // 2, 1)
        self.embed = nn.ModuleDict()
        self.mask = nn.ModuleDict()
        for task in tasks:
            self.embed[task] = Convolution(
                spatial_dims, channels + previous_channels, hidden, kernel_size=1, conv_only=True
            )
            self.mask[task] = nn.Sequential(
                conv_norm_act(spatial_dims, hidden, hidden, kernel_size=1, norm=norm, act=act),
                Convolution(spatial_dims, hidden, channels, kernel_size=1, conv_only=True),
                nn.Sigmoid(),
            )

    def forward(self, u: torch.Tensor, p: torch.Tensor, previous: list[torch.Tensor]) -> list[torch.Tensor]:
        """Return each task's gated features, shaped as ``p``, in the order of the tasks.

        Args:
            u: features after the level's first convolution.
            p: features after its second convolution.
            previous: each task's pooled gated features of the level above; empty at the first level.

        """
        masks: list[torch.Tensor] = []
        for i, (embed, mask) in enumerate(zip(self.embed.values(), self.mask.values())):
            seen = torch.cat([u, previous[i]], dim=1) if len(previous) > 0 else u
            masks.append(mask(embed(seen)))
        gated: list[torch.Tensor] = []
        for i in range(len(masks)):
            gated.append(p * (gate_of_others(masks, i) if self.cross else masks[i]))
        return gated
