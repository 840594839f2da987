# SPDX-License-Identifier: Apache-2.0
"""Single-task learning: the baseline of any multi-task claim."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ctan_networks.errors import ConfigError
from ctan_networks.nets.multi_task import MultiTaskNet

__all__ = ["SingleTask"]


class SingleTask(MultiTaskNet):
    """One network for one task (STL): hard parameter sharing with nobody to share with.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        tasks: task list, of which one is taken.
        task: its name; the first of the list when not given.
        **kwargs: see :py:class:`ctan_networks.nets.MultiTaskNet`.

    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        tasks: Mapping[str, Mapping[str, Any]],
        task: str | None = None,
        **kwargs: Any,
    ) -> None:
        chosen = next(iter(tasks), "") if task is None else task
        if tasks and chosen not in tasks:
            raise ConfigError(f"no task {task!r} to train alone: the list has {', '.join(tasks)}.")
        super().__init__(spatial_dims, in_channels, {chosen: tasks[chosen]} if tasks else {}, **kwargs)
