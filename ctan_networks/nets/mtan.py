# SPDX-License-Identifier: Apache-2.0
"""Multi-Task Attention Network: each task attends to the shared features by itself."""

from __future__ import annotations

import torch
from torch import nn

from ctan_networks.blocks import TaskAttention
from ctan_networks.nets.multi_task import MultiTaskNet

__all__ = ["MTAN", "AttentionNet"]


class AttentionNet(MultiTaskNet):
    """A network whose tasks see the shared encoder through attention masks, their own or the others'.

    Arguments: see :py:class:`ctan_networks.nets.MultiTaskNet`.
    """

    cross = False

    def _make_sharing(self) -> None:
        levels = self.encoder.channels
        self.attention = nn.ModuleList(
            TaskAttention(
                self.spatial_dims,
                list(self.tasks),
                channels,
                levels[j - 1] if j else 0,
                self.cross,
                self.norm,
                self.act,
            )
            for j, channels in enumerate(levels)
        )

    def attended_features(
        self, us: list[torch.Tensor], ps: list[torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[list[torch.Tensor]]]:
        """Each task's gated features: those of all levels as skips, and what enters the bottleneck."""
        pooled: list[torch.Tensor] = []
        skips: list[list[torch.Tensor]] = [ps[:0] for _ in range(self.task_count)]
        for j, attention in enumerate(self.attention):
            gated = attention(us[j], ps[j], pooled)
            # The deepest map of a backbone enters the bottleneck as it is.
            pooled = [self.encoder.pool(g) for g in gated] if j < self.skip_count else gated
            for i, g in enumerate(gated):
                skips[i].append(g)
        return pooled, skips


class MTAN(AttentionNet):
    """Multi-Task Attention Network (MTAN; Liu, Johns, Davison, CVPR 2019), on the encoder all architectures share.

    At each encoder level each task gates the shared features with a soft mask of its own; the gated features go down
    to the task's next mask and over to its decoder.

    Arguments: see :py:class:`ctan_networks.nets.MultiTaskNet`.
    """

    def task_features(
        self, us: list[torch.Tensor], ps: list[torch.Tensor], s: torch.Tensor
    ) -> tuple[list[torch.Tensor], list[list[torch.Tensor]]]:
        return self.attended_features(us, ps)
