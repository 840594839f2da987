# SPDX-License-Identifier: Apache-2.0
"""The cases of a list that can be read; the others are named and left out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info

from ctan_networks.data.cached_dataset import CachedDataset
from ctan_networks.errors import DataError

__all__ = ["ReadableCases"]

logger = logging.getLogger(__name__)


class ReadableCases(IterableDataset):
    """Prepared cases, one after the other, for inference: one that cannot be read does not stop the rest.

    What is skipped is logged with its reason, and counted at the end.

    Args:
        data: list of items.
        transform: the preprocessing.

    Raises:
        DataError: at the end, when not a single case could be read.

    """

    def __init__(self, data: Sequence[Mapping[str, Any]], transform: Callable) -> None:
        super().__init__()
        self.data = data
        self.cases = CachedDataset(data, transform)

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        mine = range(first, len(self.data), step)
        skipped: list[str] = []
        for index in mine:
            try:
                case = self.cases[index]
            except DataError as error:
                logger.error("skipped: %s", error)
                skipped.append(str(error))
                continue
            yield case
        if skipped:
            logger.error("skipped %d of %d cases, named above.", len(skipped), len(mine))
        if skipped and len(skipped) == len(mine):
            raise DataError(f"none of {len(mine)} cases could be read. The first: {skipped[0]}")
