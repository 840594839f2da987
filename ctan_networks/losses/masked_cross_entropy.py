# SPDX-License-Identifier: Apache-2.0
"""Cross entropy for image-level classes of which some are not labelled."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from ctan_networks.errors import ConfigError

from .over_ranks import mean_count

__all__ = ["MaskedCrossEntropyLoss"]


class MaskedCrossEntropyLoss(nn.Module):
    """Cross entropy over the labelled cases of a batch; class -1 is unknown.

    As ``torch.nn.CrossEntropyLoss(ignore_index=-1)``, which, however, is NaN for a batch without a label. In a training
    of several processes the mean is over the batches of all of them.

    Args:
        weight: one weight a class, e.g. inverse frequencies; the mean is then over the weights of the labelled cases.
        label_smoothing: as in ``torch.nn.CrossEntropyLoss``.
    """

    weight: torch.Tensor | None

    def __init__(self, weight: Sequence[float] | torch.Tensor | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"MaskedCrossEntropyLoss: label_smoothing {label_smoothing} must be in [0, 1).")
        # The weights are a setting, not state: a checkpoint must not bring back those of another data set.
        self.register_buffer(
            "weight", None if weight is None else torch.as_tensor(weight, dtype=torch.float32), persistent=False
        )
        self.label_smoothing = label_smoothing

    def known(self, target: torch.Tensor) -> bool:
        """Whether any case of ``target`` is labelled."""
        return bool((target != -1).any())

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """
        Args:
            input: logits, [B, classes].
            target: integer class index, [B] or [B, 1], -1 where unknown.

        Returns:
            scalar; 0, with a graph, where nothing is labelled.

        Raises:
            ConfigError: when the shapes do not fit or the target is not of an integer type.
        """
        if input.ndim != 2 or tuple(target.shape) not in ((input.shape[0],), (input.shape[0], 1)):
            raise ConfigError(
                f"class logits {tuple(input.shape)} must be [batch, classes] and the label {tuple(target.shape)} "
                "one class index a case, [batch] or [batch, 1]."
            )
        if target.is_floating_point():
            raise ConfigError(f"class labels must be integers (-1: unknown), not {target.dtype}.")
        logits = input.as_subclass(torch.Tensor)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        classes = target.as_subclass(torch.Tensor).reshape(-1).long()
        weight = None if self.weight is None else self.weight.to(logits.dtype)
        labelled = classes[classes != -1]
        # What F.cross_entropy divides by, with label smoothing too.
        own = labelled.new_tensor(len(labelled)) if weight is None else weight[labelled].sum()
        count = mean_count(own, self.training)
        if not len(labelled):
            # An empty slice sums to 0 and carries the graph; its gradient is 0 whatever the logits are.
            return logits[:0].sum()
        total = F.cross_entropy(
            logits, classes, weight, ignore_index=-1, label_smoothing=self.label_smoothing, reduction="sum"
        )
        return total / count
