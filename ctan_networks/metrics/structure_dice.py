# SPDX-License-Identifier: Apache-2.0
"""Dice of structures of which some are not labelled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.metrics.gathering import GatheredMetric

__all__ = ["StructureDice", "compute_structure_dice"]

REDUCTIONS = ("mean", "mean_batch", "none")


def compute_structure_dice(y_pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Dice of each case and structure; structures may overlap.

    MONAI's ``compute_dice`` agrees where the reference is not empty. Its two ways with an empty reference (NaN whatever
    was predicted, or 1 where nothing was) both differ from the rule here, and it has no unknown structures.

    Args:
        y_pred: 0/1 prediction, ``[B, S, *spatial]``; thresholded before, at whatever threshold: above 0.5 is inside.
        y: 0/1 reference of the same shape; a channel with any NaN is unknown.

    Returns:
        ``[B, S]`` float64: NaN where unknown or where both masks are empty, 0 where one is.

    Raises:
        DataError: when shapes differ.
    """
    if y_pred.shape != y.shape or y.ndim < 3:
        raise DataError(
            f"Dice: prediction {list(y_pred.shape)} and reference {list(y.shape)} must have one shape "
            "[batch, structures, spatial ...]; compare the network's channels with the list of structures."
        )
    labels = torch.as_tensor(y).detach().as_subclass(torch.Tensor).flatten(2)
    predicted = torch.as_tensor(y_pred).detach().as_subclass(torch.Tensor).flatten(2) > 0.5
    reference = labels > 0.5
    overlap = (predicted & reference).sum(-1)
    size = predicted.sum(-1) + reference.sum(-1)
    # 0 / 0 is NaN: both empty.
    dice = 2 * overlap.double() / size.double()
    return torch.where(labels.isnan().any(-1), torch.nan, dice)


class StructureDice(GatheredMetric):
    """Dice of each structure over patients, see :py:func:`compute_structure_dice`.

    Takes batch-first tensors or lists of channel-first tensors, of any size from case to case, and works in
    ``IgniteMetricHandler`` with ``from_engine(["predicted_segmentation", "reference_segmentation"])``.

    Args:
        reduction: what :py:meth:`aggregate` gives. "mean": mean over the structures of a patient, then over patients,
            as ``monai.metrics.DiceMetric``; "mean_batch": mean over patients of each structure, ``[S]``; "none": all,
            ``[patients, S]``. NaN is left out of means; a mean of nothing is NaN (where MONAI gives 0).
        left_out: channels that do not count, such as those of contours that the network was given: their Dice is NaN.

    Raises:
        ConfigError: when there is no such reduction.
    """

    def __init__(self, reduction: str = "mean", left_out: Sequence[int] = ()) -> None:
        super().__init__()
        self.reduction = _check_reduction(reduction)
        self.left_out = list(left_out)

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        if y is None:
            raise DataError("StructureDice needs a reference: metric(y_pred, y).")
        dice = compute_structure_dice(y_pred, y)
        dice[:, self.left_out] = torch.nan
        return dice

    def aggregate(self, reduction: str | None = None) -> torch.Tensor:
        """Reduce what was accumulated.

        Args:
            reduction: instead of that of the constructor.

        Raises:
            DataError: when nothing was scored.
        """
        data = self.get_buffer()
        if data is None:
            raise DataError("StructureDice: no case was scored; check the data list of the evaluation.")
        reduction = _check_reduction(reduction or self.reduction)
        if reduction == "none":
            return data
        return data.nanmean(0) if reduction == "mean_batch" else data.nanmean(1).nanmean()


def _check_reduction(reduction: str) -> str:
    if reduction not in REDUCTIONS:
        raise ConfigError(f"StructureDice: reduction must be one of {', '.join(REDUCTIONS)}, not {reduction!r}.")
    return reduction
