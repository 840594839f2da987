# SPDX-License-Identifier: Apache-2.0
"""What a process of several must know of the others: how many there are, which it is, and what they have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any, TypeVar

import torch.distributed as dist

__all__ = ["gather_in_turn", "in_turn", "rank", "world_size"]

T = TypeVar("T")
NOTHING: Any = object()


def world_size() -> int:
    """Number of processes that work together; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0; the first one writes and logs."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def gather_in_turn(items: Sequence[T]) -> list[T]:
    """The items of all processes, on each of them: the first of each process, then the second of each, and so on.

    Where case k of a list went to process k mod N, this is the order of the list again. Every process must call it,
    also one without items.

    Args:
        items: of this process; whatever can be pickled.
    """
    if world_size() == 1:
        return list(items)
    shares: list[Any] = [None] * world_size()
    dist.all_gather_object(shares, list(items))
    return in_turn(shares)


def in_turn(shares: Iterable[Sequence[T]]) -> list[T]:
    """The first of each share, then the second of each, and so on; shares may differ in length."""
    rounds = zip_longest(*shares, fillvalue=NOTHING)
    return [item for members in rounds for item in members if item is not NOTHING]
