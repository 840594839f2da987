# SPDX-License-Identifier: Apache-2.0
"""L1 loss for dose, with a small weight outside the possible-dose mask."""

from __future__ import annotations

import torch
from torch import nn

from ctan_networks.errors import ConfigError

from .over_ranks import mean_count

__all__ = ["MaskedL1Loss"]


class MaskedL1Loss(nn.Module):
    """Weighted mean absolute error; NaN in the target is unknown.

    The loss is ``sum(w |input - target / scale|) / sum(w)`` over the known voxels of the batch, with w = 1 inside the
    mask and ``outside_weight`` outside. The prediction is in units of ``scale``: the network's output times ``scale``
    is in Gy, so that with ``scale=70`` the loss of dose is near 1 as the losses of other tasks are. In a training of
    several processes the mean is over the batches of all of them.

    Args:
        scale: Gy (or any unit of the target) for one unit of the prediction.
        outside_weight: weight of a voxel outside the mask.
    """

    def __init__(self, scale: float = 1.0, outside_weight: float = 0.1) -> None:
        super().__init__()
        if scale <= 0 or outside_weight < 0:
            raise ConfigError(f"MaskedL1Loss: scale {scale} must be > 0 and outside_weight {outside_weight} >= 0.")
        self.scale = scale
        self.outside_weight = outside_weight

    def known(self, target: torch.Tensor, mask: torch.Tensor | None = None) -> bool:
        """Whether any voxel of ``target`` is labelled and has a weight above 0."""
        counted = ~torch.isnan(target)
        if mask is not None and self.outside_weight == 0:
            counted = counted & (mask > 0.5)
        return bool(counted.any())

    def forward(self, input: torch.Tensor, target: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """
        Args:
            input: prediction in units of ``scale``, [B, C, spatial ...].
            target: reference, e.g. in Gy, of the same shape, NaN where unknown.
            mask: possible-dose mask, 0/1, of the same shape or with one channel; None: all voxels have weight 1.

        Returns:
            scalar; 0, with a graph, where nothing is labelled.

        Raises:
            ConfigError: when the shapes do not fit.
        """
        if input.shape != target.shape:
            raise ConfigError(
                f"prediction {tuple(input.shape)} and label {tuple(target.shape)} must have the same shape: "
                "compare out_channels of the task with the channels of its label."
            )
        prediction = input.as_subclass(torch.Tensor)
        prediction = prediction.to(torch.promote_types(prediction.dtype, torch.float32))
        reference = target.as_subclass(torch.Tensor).to(prediction.dtype)
        if mask is None:
            weight = torch.ones_like(reference)
        else:
            if mask.shape[:1] + mask.shape[2:] != input.shape[:1] + input.shape[2:] or mask.shape[1] not in (
                1,
                input.shape[1],
            ):
                raise ConfigError(f"mask {tuple(mask.shape)} does not fit the prediction {tuple(input.shape)}.")
            inside = mask.as_subclass(torch.Tensor) > 0.5
            weight = torch.where(inside, 1.0, self.outside_weight).to(prediction.dtype).expand_as(prediction)
        counted = ~torch.isnan(reference)
        if self.outside_weight == 0:
            counted = counted & (weight > 0)
        if not bool(counted.any()):
            mean_count(weight.new_zeros(()), self.training)
            # An empty slice sums to 0 and carries the graph; its gradient is 0 whatever the prediction is.
            return prediction[:0].sum()
        if not bool(counted.all()):
            prediction, reference, weight = prediction[counted], reference[counted], weight[counted]
        return (weight * (prediction - reference / self.scale).abs()).sum() / mean_count(weight.sum(), self.training)
