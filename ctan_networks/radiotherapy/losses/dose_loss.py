# SPDX-License-Identifier: Apache-2.0
"""Dose loss: L1 in the volume, and moments in the structures."""

from __future__ import annotations

import torch
from torch import nn

from ctan_networks.errors import ConfigError
from ctan_networks.losses import MaskedL1Loss
from ctan_networks.radiotherapy.losses.moment import MomentLoss

__all__ = ["DoseLoss"]


class DoseLoss(nn.Module):
    """``L1 + weight * moment loss``.

    L1 is what the dose score measures; the moments pull the DVHs, which L1 alone leaves too flat in targets.

    Args:
        l1: loss of dose, called with (input, target, mask).
        moments: loss of DVHs, called with (input, target, structures); None, or a weight of 0: L1 alone.
        weight: of the moment loss.
        start_epoch: number of whole epochs with L1 alone, for structures and doses to settle.

    Raises:
        ConfigError: when the weight is negative.

    """

    epoch: torch.Tensor

    def __init__(
        self, l1: MaskedL1Loss, moments: MomentLoss | None = None, weight: float = 1.0, start_epoch: int = 0
    ) -> None:
        super().__init__()
        if weight < 0:
            raise ConfigError(f"DoseLoss: weight must be at least 0, got {weight}.")
        self.l1, self.moments, self.weight, self.start_epoch = l1, moments, float(weight), int(start_epoch)
        # Saved with the loss, so that a resumed training knows where it is.
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))

    def known(
        self, target: torch.Tensor, mask: torch.Tensor | None = None, structures: torch.Tensor | None = None
    ) -> bool:
        """Whether any voxel has a dose; see :py:meth:`ctan_networks.losses.MaskedL1Loss.known`."""
        return self.l1.known(target, mask)

    def end_epoch(self) -> None:
        """Count an epoch; :py:class:`ctan_networks.losses.MultiTaskLoss` calls it."""
        self.epoch += 1

    def forward(
        self,
        input: torch.Tensor,
        target: torch.Tensor,
        mask: torch.Tensor | None = None,
        structures: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Compute the loss; arguments as of the two losses.

        Raises:
            ConfigError: when shapes do not fit, or the moment loss has no structures.

        """
        loss = self.l1(input, target, mask)
        if self.moments is None or self.weight == 0 or int(self.epoch) < self.start_epoch:
            return loss
        if structures is None:
            raise ConfigError("DoseLoss: the moment loss needs the structures among the labels.")
        return loss + self.weight * self.moments(input, target, structures)
