# SPDX-License-Identifier: Apache-2.0
"""Dice + binary cross entropy for overlapping structures of which some are not labelled."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from ctan_networks.errors import ConfigError

from .over_ranks import mean_count

__all__ = ["DiceBCELoss"]


class DiceBCELoss(nn.Module):
    """Soft Dice loss plus binary cross entropy for multi-label segmentation; NaN in the target is unknown.

    Dice is taken per (case, structure) and averaged over those whose known reference is not empty: the Dice of an
    empty reference is 1 for any prediction, so that empty ones are left to the cross entropy. Binary cross entropy is
    averaged over all known voxels of the batch. Where everything is known and nothing is empty, this equals
    ``monai.losses.DiceLoss(sigmoid=True)`` plus ``torch.nn.BCEWithLogitsLoss()``. MONAI's loss is not wrapped because
    it cannot leave out single (case, structure) pairs; structures are taken in turn, so that besides the probabilities
    that the gradient needs no temporary is larger than one structure.

    In a training of several processes both averages are over the batches of all of them.

    Args:
        dice_weight: factor of the Dice term.
        bce_weight: factor of the cross-entropy term.
        smooth: added to the numerator and the denominator of Dice, as MONAI's ``smooth_nr`` and ``smooth_dr``.
        batch: sum each structure over the cases of the batch before its Dice is taken, instead of a Dice per case; of
            several processes, over those of each.
        include_empty: count empty references in Dice, too.
    """

    def __init__(
        self,
        dice_weight: float = 1.0,
        bce_weight: float = 1.0,
        smooth: float = 1e-5,
        batch: bool = False,
        include_empty: bool = False,
    ) -> None:
        super().__init__()
        if dice_weight < 0 or bce_weight < 0 or smooth < 0:
            raise ConfigError("DiceBCELoss: dice_weight, bce_weight and smooth must not be negative.")
        self.dice_weight = dice_weight
        self.bce_weight = bce_weight
        self.smooth = smooth
        self.batch = batch
        self.include_empty = include_empty

    def known(self, target: torch.Tensor) -> bool:
        """Whether any voxel of ``target`` is labelled."""
        return not bool(torch.isnan(target).all())

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """
        Args:
            input: logits, [B, S, spatial ...].
            target: 0/1 (or a fraction between) of the same shape, NaN where unknown.

        Returns:
            scalar; 0, with a graph, where nothing is labelled.

        Raises:
            ConfigError: when the shapes differ.
        """
        if input.shape != target.shape or input.ndim < 3:
            raise ConfigError(
                f"segmentation logits {tuple(input.shape)} and label {tuple(target.shape)} must have the same shape "
                "[batch, structures, spatial ...]: compare out_channels of the task with the list of structures."
            )
        # as_subclass: MetaTensor bookkeeping has no use in here.
        logits = input.as_subclass(torch.Tensor).flatten(2)
        labels = target.as_subclass(torch.Tensor).flatten(2)
        voxels = logits.shape[2]
        known_voxels = (~torch.isnan(labels)).sum(-1).tolist()  # [case][structure]; the one wait for the device

        # An empty slice sums to 0 and carries the graph; its gradient is 0 whatever the logits are.
        zero = logits[:0].sum(dtype=torch.promote_types(logits.dtype, torch.float32))
        cross_entropy, total_known = zero, 0
        dice, counted = [], []
        # unbind, because the gradient of one unbind is one stack and that of S slices is S arrays of full size.
        for s, (x, t) in enumerate(zip(logits.unbind(1), labels.unbind(1), strict=True)):
            known = [case[s] for case in known_voxels]
            if not any(known):
                continue
            if not all(known):
                rows = torch.tensor([n > 0 for n in known], device=x.device)
                x, t = x[rows], t[rows]
            x, t = x.to(zero.dtype), t.to(zero.dtype)
            weight = None
            if any(0 < n < voxels for n in known):
                weight = (~torch.isnan(t)).to(x.dtype)
                t = t.nan_to_num(nan=0.0)
            cross_entropy = cross_entropy + F.binary_cross_entropy_with_logits(x, t, weight, reduction="sum")
            total_known += sum(known)
            p = torch.sigmoid(x) if weight is None else torch.sigmoid(x) * weight
            dims = (0, 1) if self.batch else (1,)
            reference = t.sum(dims).reshape(-1)
            overlap = (p * t).sum(dims).reshape(-1)
            dice.append(1 - (2 * overlap + self.smooth) / (p.sum(dims).reshape(-1) + reference + self.smooth))
            counted.append(torch.ones_like(reference, dtype=torch.bool) if self.include_empty else reference > 0)
        counts = torch.cat(counted) if counted else torch.zeros(0, dtype=torch.bool, device=zero.device)
        own = torch.stack([counts.sum(), torch.tensor(total_known, device=zero.device)])
        dice_count, voxel_count = mean_count(own, self.training)
        if total_known == 0:
            return zero
        mean_dice = torch.where(counts, torch.cat(dice), 0.0).sum() / torch.where(dice_count > 0, dice_count, 1)
        return self.dice_weight * mean_dice + self.bce_weight * cross_entropy / voxel_count
