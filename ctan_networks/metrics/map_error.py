# SPDX-License-Identifier: Apache-2.0
"""Mean absolute error of maps of numbers of which some are not labelled."""

from __future__ import annotations

from typing import Any

import torch

from ctan_networks.errors import DataError
from ctan_networks.metrics.gathering import GatheredMetric

__all__ = ["MapError", "compute_map_error"]


def compute_map_error(y_pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean absolute error of each case over all its channels and voxels, in float64.

    ``monai.metrics.MAEMetric`` agrees where everything is labelled; it has no unknown voxels, and its mean over no case
    is 0, the best there is.

    Args:
        y_pred: ``[B, C, *spatial]``.
        y: of the same shape; NaN where unknown.

    Returns:
        ``[B, 1]``: NaN where nothing of a case is known; infinite where the prediction is NaN, so that a broken network
        never passes for an unknown reference.

    Raises:
        DataError: when shapes differ.
    """
    if y_pred.shape != y.shape or y.ndim < 3:
        raise DataError(
            f"map error: prediction {list(y_pred.shape)} and reference {list(y.shape)} must have one shape "
            "[batch, channels, spatial ...]; compare the task's channels with those of its maps."
        )
    prediction, reference = (torch.as_tensor(x).detach().as_subclass(torch.Tensor).flatten(1) for x in (y_pred, y))
    known = ~reference.isnan()
    error = (prediction.double() - reference.double()).abs()
    error = torch.where(error.isnan(), torch.inf, error)
    total = torch.where(known, error, 0.0).sum(1)
    return (total / known.sum(1))[:, None]


class MapError(GatheredMetric):
    """Mean over cases of :py:func:`compute_map_error`; cases of which nothing is known are left out.

    Takes batch-first tensors or lists of channel-first tensors, of any size from case to case, and works in
    ``IgniteMetricHandler`` with ``from_engine(["predicted_<task>", "reference_<task>"])``.
    """

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        if y is None:
            raise DataError("MapError needs a reference: metric(y_pred, y).")
        return compute_map_error(y_pred, y)

    def aggregate(self) -> torch.Tensor:
        """The mean; NaN when no case has a reference.

        Raises:
            DataError: when nothing was scored.
        """
        data = self.get_buffer()
        if data is None:
            raise DataError("MapError: no case was scored; check the data list of the evaluation.")
        return data.nanmean()
