# SPDX-License-Identifier: Apache-2.0
"""One name for each architecture, so that a configuration swaps the network by a word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ctan_networks.errors import ConfigError
from ctan_networks.nets.ctan import CTAN
from ctan_networks.nets.hard_sharing import HardParameterSharing
from ctan_networks.nets.mtan import MTAN
from ctan_networks.nets.multi_task import MultiTaskNet
from ctan_networks.nets.single_task import SingleTask

__all__ = ["ARCHITECTURES", "make_network"]

ARCHITECTURES: dict[str, type[MultiTaskNet]] = {
    "ctan": CTAN,
    "mtan": MTAN,
    "hps": HardParameterSharing,
    "stl": SingleTask,
}


def make_network(
    architecture: str, tasks: Mapping[str, Mapping[str, Any]], task: str | None = None, **kwargs: Any
) -> MultiTaskNet:
    """Make a network by the name of its architecture.

    Args:
        architecture: "ctan", "mtan", "hps" or "stl".
        tasks: the task list.
        task: with "stl": the one task, by default the first; the other architectures take all tasks and do not look
            at it.
        **kwargs: the network's other arguments.

    Raises:
        ConfigError: when there is no such architecture.

    """
    if architecture not in ARCHITECTURES:
        raise ConfigError(f"no architecture {architecture!r}: choose one of {', '.join(ARCHITECTURES)}.")
    if architecture == "stl":
        return SingleTask(tasks=tasks, task=task, **kwargs)
    return ARCHITECTURES[architecture](tasks=tasks, **kwargs)
