# SPDX-License-Identifier: Apache-2.0
"""Cross-Task Attention Network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ctan_networks.blocks import CrossTaskBottleneck
from ctan_networks.nets.mtan import AttentionNet

__all__ = ["CTAN"]


class CTAN(AttentionNet):
    """Cross-Task Attention Network (CTAN), after Kim, Purdie, McIntosh, MICCAI 2023 Workshops (arXiv 2309.03837).

    A re-implementation of the published idea, not the authors' code. Two things cross between the tasks:

    - cross-task attention encoder: at each level, a task's features are the shared ones gated by the mean mask of the
      *other* tasks (:py:class:`ctan_networks.blocks.TaskAttention`);
    - cross-task attention bottleneck: the similarity of another task's tokens says where a task looks
      (:py:class:`ctan_networks.blocks.CrossTaskBottleneck`).

    With one task there is nothing to cross: the network then equals :py:class:`ctan_networks.nets.SingleTask`,
    parameter for parameter.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        tasks: see :py:class:`ctan_networks.nets.MultiTaskNet`.
        attention_encoder: cross in the encoder. False: skips and bottleneck see the shared features (ablation).
        attention_bottleneck: cross at the bottleneck (ablation).
        **kwargs: see :py:class:`ctan_networks.nets.MultiTaskNet`.

    """

    __constants__ = (*AttentionNet.__constants__, "crosses_bottleneck", "crosses_encoder")
    cross = True

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        tasks: Mapping[str, Mapping[str, Any]],
        attention_encoder: bool = True,
        attention_bottleneck: bool = True,
        **kwargs: Any,
    ) -> None:
        several = len(tasks) > 1
        self.crosses_encoder = several and attention_encoder
        self.crosses_bottleneck = several and attention_bottleneck
        super().__init__(spatial_dims, in_channels, tasks, **kwargs)

    def _make_sharing(self) -> None:
        if self.crosses_encoder:
            super()._make_sharing()
        if self.crosses_bottleneck:
            self.bottleneck = CrossTaskBottleneck(self.spatial_dims, list(self.tasks), self.channels[-1])

    def task_features(
        self, us: list[torch.Tensor], ps: list[torch.Tensor], s: torch.Tensor
    ) -> tuple[list[torch.Tensor], list[list[torch.Tensor]]]:
        if self.crosses_encoder:
            return self.attended_features(us, ps)
        else:  # noqa: RET505  TorchScript compiles the branch that the flag chooses, if it is an else
            return [s for _ in range(self.task_count)], [ps for _ in range(self.task_count)]

    def cross_bottleneck(self, features: list[torch.Tensor]) -> list[torch.Tensor]:
        if self.crosses_bottleneck:
            return self.bottleneck(features)
        else:  # noqa: RET505
            return features
