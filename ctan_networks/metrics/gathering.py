# SPDX-License-Identifier: Apache-2.0
"""Scores of the cases of all processes, in the order of the data list."""

from __future__ import annotations

from typing import Any

import torch
from monai.metrics import CumulativeIterationMetric

from ctan_networks.processes import gather_in_turn, world_size

__all__ = ["GatheredMetric"]


class GatheredMetric(CumulativeIterationMetric):
    """A metric that keeps one row a case, and of several processes gathers the rows as one process would have them.

    MONAI's own gathering puts the cases of one process behind those of another, which changes sums in their last digit,
    and waits for ever where a process has no case. Here case k of the data list is that of process k mod N, as
    :py:class:`ctan_networks.data.epoch_sampler.ShareSampler` deals them out.

    Attributes:
        latest: rows of the latest batch, so that a report need not compute them again; None before the first.
    """

    latest: Any = None

    def __call__(self, y_pred: Any, y: Any = None, **kwargs: Any) -> Any:
        self.latest = super().__call__(y_pred, y, **kwargs)
        return self.latest

    def reset(self) -> None:
        super().reset()
        self.latest = None

    def _sync(self) -> None:
        if world_size() == 1:
            super()._sync()
            return
        if self._synced:
            return
        own = [] if self._buffers is None else [[x.cpu() for x in buffer] for buffer in self._buffers]
        cases = gather_in_turn(list(zip(*own, strict=True)))
        self._synced_tensors = [torch.stack(column) for column in zip(*cases, strict=True)] if cases else None
        self._synced = True
