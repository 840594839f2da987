# SPDX-License-Identifier: Apache-2.0
"""The order of cases, from (seed, epoch) alone, with the epoch handed on to the data set; shares of processes."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any

import torch
from torch.utils.data import DistributedSampler, Sampler

from ctan_networks.errors import ConfigError
from ctan_networks.processes import rank, world_size

__all__ = ["EpochSampler", "ShareSampler"]


class EpochSampler(DistributedSampler):
    """Yields ``(epoch, index)``, so that :py:class:`ctan_networks.data.CachedDataset` draws from (seed, epoch, case).

    A distributed sampler also in a single process: MONAI's trainer then calls ``set_epoch`` at the start of each epoch.
    Of several processes, the k-th batches together are the k-th batch of one process with so many times the batch size.
    Where the cases cannot be divided evenly, the first ones of the epoch come once more at its end, so that all
    processes take the same number of steps.

    With ``length`` an epoch is a stretch of that many cases of one endless sequence of passes through the data, so that
    runs on data sets of different sizes (a task of which fewer cases are labelled) take the same number of steps. What
    is yielded is then ``(pass, index)``: the draws of a case are new in each pass, however long an epoch is.

    Args:
        dataset: the data set.
        shuffle: shuffle anew in each epoch.
        seed: seed of the order.
        length: cases an epoch, of all processes together; None: those of the data set.

    Raises:
        ConfigError: when length is less than the number of processes.

    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int = 0, length: int | None = None) -> None:
        super().__init__(
            dataset,  # type: ignore[arg-type]  # only its length is used
            num_replicas=world_size(),
            rank=rank(),
            shuffle=shuffle,
            seed=seed,
        )
        if length is not None and length < self.num_replicas:
            raise ConfigError(f"an epoch must have at least one case a process, got {length} of {self.num_replicas}.")
        self.cases = len(dataset)
        self.length = length
        self._turn = -1
        self._order: list[int] = []
        if length is not None:
            self.num_samples = length // self.num_replicas

    def __iter__(self) -> Iterator[Any]:
        if self.length is None:
            return ((self.epoch, index) for index in super().__iter__())
        first = self.epoch * self.num_samples * self.num_replicas + self.rank
        return (self._at(first + step * self.num_replicas) for step in range(self.num_samples))

    def _at(self, position: int) -> tuple[int, int]:
        turn, place = divmod(position, self.cases)
        if not self.shuffle:
            return turn, place
        if self._turn != turn:
            generator = torch.Generator().manual_seed(self.seed + turn)
            self._turn, self._order = turn, torch.randperm(self.cases, generator=generator).tolist()
        return turn, self._order[place]


class ShareSampler(Sampler):
    """For evaluation in several processes: case k of the list is that of process k mod N, each case of one alone.

    Args:
        dataset: the data set.
    """

    def __init__(self, dataset: Sized) -> None:
        self.indices = range(rank(), len(dataset), world_size())

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)
