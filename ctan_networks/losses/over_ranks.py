# SPDX-License-Identifier: Apache-2.0
"""Means over the batches of all processes, so that training in several equals training in one on a larger batch.

DistributedDataParallel averages gradients over the processes. A loss that is a sum over what is labelled, divided by
the labelled count, is therefore to be divided by the *mean* count of the processes: the average of ``sum / mean count``
is ``sum of sums / sum of counts``, which is the loss of all batches together.
"""

from __future__ import annotations

import torch
import torch.distributed as dist

from ctan_networks.processes import world_size

__all__ = ["mean_count", "mean_over_ranks", "several_train"]


def several_train(training: bool = True) -> bool:
    """Whether this is a training step of several processes.

    Args:
        training: the ``training`` flag of the module that asks. Without gradients it is no training step either.
    """
    return training and torch.is_grad_enabled() and world_size() > 1


def mean_count(count: torch.Tensor, training: bool = True) -> torch.Tensor:
    """What a loss divides by: in a training step of several processes the mean over them, else ``count`` itself.

    All processes wait for each other in here, so that each must call it as often as the others in every step, with 0
    where it has no label.

    Args:
        count: number, or sum of weights, of what is labelled in this process's batch; any shape.
        training: the ``training`` flag of the loss.
    """
    return mean_over_ranks(count) if several_train(training) else count


def mean_over_ranks(values: torch.Tensor) -> torch.Tensor:
    """Mean over the processes, detached; with one process the values themselves. Every process must call it."""
    values = values.detach()
    if world_size() == 1:
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total / world_size()
