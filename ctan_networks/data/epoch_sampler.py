# SPDX-License-Identifier: Apache-2.0
"""The order of cases, from (seed, epoch) alone, with the epoch handed on to the data set."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any

import torch.distributed as dist
from torch.utils.data import DistributedSampler

__all__ = ["EpochSampler"]


class EpochSampler(DistributedSampler):
    """Yields ``(epoch, index)``, so that :py:class:`ctan_networks.data.CachedDataset` draws from (seed, epoch, case).

    A distributed sampler also in a single process: MONAI's trainer then calls ``set_epoch`` at the start of each epoch.

    Args:
        dataset: the data set.
        shuffle: shuffle anew in each epoch.
        seed: seed of the order.

    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int = 0) -> None:
        running = dist.is_available() and dist.is_initialized()
        super().__init__(
            dataset,  # type: ignore[arg-type]  # only its length is used
            num_replicas=dist.get_world_size() if running else 1,
            rank=dist.get_rank() if running else 0,
            shuffle=shuffle,
            seed=seed,
        )

    def __iter__(self) -> Iterator[Any]:
        return ((self.epoch, index) for index in super().__iter__())
