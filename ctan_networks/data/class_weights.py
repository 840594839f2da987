# SPDX-License-Identifier: Apache-2.0
"""How frequent classes are, and weights by how rare they are."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ctan_networks.errors import ConfigError, DataError

__all__ = ["class_shares", "class_weights"]

logger = logging.getLogger(__name__)


def class_weights(items: Sequence[Mapping[str, Any]], task: str, classes: int, balance: float = 1.0) -> list[float]:
    """Weight of each class for a cross entropy: ``(1 / share of the class) ** balance``, 1 on average over the cases.

    Args:
        items: the training cases; those without the label do not count. When none has it, all classes weigh the same
            and a warning says that the task learns nothing.
        task: key of the label, a class number from 0.
        classes: how many there are. One that no case has gets the weight of the rarest.
        balance: 0: all alike; 1: every class as important as every other; between: a compromise.

    Raises:
        DataError: when a label is not a class number.
        ConfigError: when balance is negative.

    """
    if balance < 0:
        raise ConfigError(f"balance must be at least 0, got {balance}.")
    counts = _count(items, task, classes)
    if not counts:
        logger.warning("no training case has a label for %s: the task learns nothing.", task)
        return [1.0] * classes
    total, rarest = sum(counts.values()), min(counts.values())
    raw = [(total / counts.get(k, rarest)) ** balance for k in range(classes)]
    mean = sum(raw[k] * count for k, count in counts.items()) / total
    return [weight / mean for weight in raw]


def class_shares(items: Sequence[Mapping[str, Any]], task: str, classes: int) -> list[float]:
    """The share of each class among the cases; their sum is 1.

    Args:
        items: the training cases; those without the label do not count. When none has it, all classes have the same.
        task: key of the label, a class number from 0.
        classes: how many there are. One that no case has counts as if it had as many as the rarest.

    Raises:
        DataError: when a label is not a class number.

    """
    counts = _count(items, task, classes)
    rarest = min(counts.values(), default=1)
    numbers = [counts.get(k, rarest) for k in range(classes)]
    return [number / sum(numbers) for number in numbers]


def _count(items: Sequence[Mapping[str, Any]], task: str, classes: int) -> Counter:
    counts = Counter(item[task] for item in items if task in item)
    strangers = [label for label in counts if label not in range(classes)]
    if strangers:
        raise DataError(f"labels for {task} must be 0 to {classes - 1}, found {strangers}.")
    return counts
