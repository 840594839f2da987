# SPDX-License-Identifier: Apache-2.0
"""What a task is: a name, a kind and a number of output channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from ctan_networks.errors import ConfigError, refuse_unknown

__all__ = ["KINDS", "check_tasks"]

KINDS = ("segmentation", "regression", "classification")
KEYS = ("kind", "out_channels")


def check_tasks(tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Check a task list and return a plain copy of it, in the order given.

    Args:
        tasks: task name to ``{"kind": "segmentation" | "regression" | "classification", "out_channels": int}``.

    Raises:
        ConfigError: when there is no task, or a name, a kind, a key or a number of channels cannot be used.

    """
    if not tasks:
        raise ConfigError("a network needs at least one task, got none.")
    checked: dict[str, dict[str, Any]] = {}
    for name, spec in tasks.items():
        if not str(name).isidentifier() or hasattr(nn.ModuleDict(), str(name)):
            raise ConfigError(f"task name {name!r} cannot name a network's branch: use a plain word such as 'dose'.")
        refuse_unknown(spec, KEYS, f"task {name!r}")
        kind, channels = spec.get("kind"), spec.get("out_channels", 1)
        if kind not in KINDS:
            raise ConfigError(f"task {name!r} has kind {kind!r}: must be one of {', '.join(KINDS)}.")
        if not isinstance(channels, int) or isinstance(channels, bool) or channels < 1:
            raise ConfigError(f"task {name!r} has out_channels {channels!r}: must be a whole number of at least 1.")
        checked[str(name)] = {"kind": kind, "out_channels": channels}
    return checked
