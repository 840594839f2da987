# SPDX-License-Identifier: Apache-2.0
"""One tensor for all tasks, and back: what Model Zoo's shape check and MONAI Label take.

The channels are ``[background, structures ..., further dense tasks ..., class logits ...]``. The background logit is
minus the maximum of the structures' logits, so that channel k is label k. Class logits are expanded over the grid and
averaged back. With classification tasks only, the stack is ``[B, sum of classes]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

__all__ = ["split_stacked", "stack_outputs", "stacked_channels"]


def stack_outputs(
    out: dict[str, torch.Tensor], segmentations: list[str], regressions: list[str], classifications: list[str]
) -> torch.Tensor:
    """Stack a network's outputs on the channel axis. Written for TorchScript, hence the lists of names."""
    parts: list[torch.Tensor] = []
    if len(segmentations) > 0:
        structures = torch.cat([out[name] for name in segmentations], dim=1)
        parts.append(-torch.amax(structures, dim=1, keepdim=True))
        parts.append(structures)
    for name in regressions:
        parts.append(out[name])
    if len(classifications) > 0:
        logits = torch.cat([out[name] for name in classifications], dim=1)
        if len(parts) > 0:
            size = list(parts[0].shape[2:])
            for _ in range(len(size)):
                logits = logits.unsqueeze(-1)
            logits = logits.expand(list(logits.shape[:2]) + size)
        parts.append(logits)
    return torch.cat(parts, dim=1)


def _names(tasks: Mapping[str, Mapping[str, Any]], kind: str) -> list[str]:
    return [name for name, spec in tasks.items() if spec["kind"] == kind]


def stacked_channels(tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, slice]:
    """Where each task's channels lie in the stack. A background channel is 0 and belongs to no task."""
    start = 1 if _names(tasks, "segmentation") else 0
    where: dict[str, slice] = {}
    for kind in ("segmentation", "regression", "classification"):
        for name in _names(tasks, kind):
            where[name] = slice(start, start + tasks[name]["out_channels"])
            start += tasks[name]["out_channels"]
    return where


def split_stacked(
    stacked: torch.Tensor, tasks: Mapping[str, Mapping[str, Any]], channel_dim: int = 1
) -> dict[str, torch.Tensor]:
    """Undo :py:func:`stack_outputs`: ``{task: tensor}``, class logits averaged over the grid.

    Args:
        stacked: the stack, ``[B, channels, ...]``, or one case of it with ``channel_dim=0``.
        tasks: the network's task list.
        channel_dim: axis of the channels.

    Raises:
        ValueError: when the number of channels is not that of the tasks.

    """
    where = stacked_channels(tasks)
    total = max(part.stop for part in where.values())
    if stacked.shape[channel_dim] != total:
        raise ValueError(f"tasks {list(tasks)} need {total} stacked channels, got shape {tuple(stacked.shape)}.")
    out: dict[str, torch.Tensor] = {}
    for name in tasks:
        part = stacked.narrow(channel_dim, where[name].start, where[name].stop - where[name].start)
        if tasks[name]["kind"] == "classification" and part.ndim > channel_dim + 1:
            part = part.flatten(channel_dim + 1).mean(-1)
        out[name] = part
    return out
