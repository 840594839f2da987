# SPDX-License-Identifier: Apache-2.0
"""How the losses of the tasks are summed: equal, dynamic weight average, homoscedastic uncertainty.

A weighting is called with the losses of those tasks that have a label in the batch (maybe none) and gives the total.
``weights`` are the factors in use, for the log; ``update`` takes the epoch means of the training losses at the end of
an epoch. With one task every weighting is the plain loss, so that a single-task baseline does not depend on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from ctan_networks.errors import ConfigError

from .gradient_methods import GRADIENT_METHODS
from .over_ranks import mean_over_ranks

__all__ = ["WEIGHTINGS", "DynamicWeightAverage", "EqualWeighting", "UncertaintyWeighting", "make_weighting"]


def _checked(tasks: Sequence[str]) -> tuple[str, ...]:
    if isinstance(tasks, str) or not tasks or len(set(tasks)) != len(tasks):
        raise ConfigError(f"tasks must be a list of different names, at least one, not {tasks!r}.")
    return tuple(tasks)


class EqualWeighting(nn.Module):
    """The sum of the losses, each with weight 1.

    Args:
        tasks: names of the tasks.
    """

    factors: torch.Tensor

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks = _checked(tasks)
        self.register_buffer("factors", torch.ones(len(self.tasks)))

    @property
    def weights(self) -> dict[str, float]:
        """The factor of each task, as in use now."""
        return dict(zip(self.tasks, self.factors.tolist(), strict=True))

    def update(self, epoch_losses: Mapping[str, float]) -> None:
        """Take the epoch means; equal weights do not depend on them."""

    def forward(self, losses: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """
        Args:
            losses: scalar loss of each task that has a label in the batch.

        Returns:
            scalar.
        """
        total = torch.zeros((), device=self.factors.device)
        for task, loss in losses.items():
            total = total + self.factors[self.tasks.index(task)] * loss
        return total


class DynamicWeightAverage(EqualWeighting):
    """Dynamic weight average: more weight for tasks whose loss falls more slowly.

    In epoch t, ``w_k = K softmax_k(r_k / T)`` with ``r_k = L_k(t-1) / L_k(t-2)``, L the epoch mean of the training
    loss; all ones in the first two epochs. Source: Liu, Johns and Davison, "End-to-End Multi-Task Learning with
    Attention", CVPR 2019, section 3.2. The loss history is part of the state dict.

    A task without any labelled batch in an epoch keeps its last epoch mean. Where the ratio cannot be had (the task
    has not had two epoch means yet, or the older one is 0) it is 1, as of a loss that stands still.

    Args:
        tasks: names of the tasks.
        temperature: T; the larger, the more equal.
    """

    history: torch.Tensor
    epochs: torch.Tensor

    def __init__(self, tasks: Sequence[str], temperature: float = 2.0) -> None:
        super().__init__(tasks)
        if not temperature > 0:
            raise ConfigError(f"DynamicWeightAverage: temperature must be > 0, not {temperature}.")
        self.temperature = temperature
        self.register_buffer("history", torch.full((2, len(self.tasks)), math.nan))  # L(t-2), L(t-1)
        self.register_buffer("epochs", torch.zeros((), dtype=torch.long))

    def update(self, epoch_losses: Mapping[str, float]) -> None:
        """Set the weights of the next epoch.

        Args:
            epoch_losses: epoch mean of the training loss of each task; none or NaN where it had no label.
        """
        newest = self.history.new_tensor([epoch_losses.get(task, math.nan) for task in self.tasks])
        newest = torch.where(torch.isnan(newest), self.history[1], newest)
        self.history.copy_(torch.stack([self.history[1], newest]))
        self.epochs += 1
        if self.epochs < 2:
            return
        ratio = self.history[1] / self.history[0]
        ratio = torch.where(torch.isfinite(ratio), ratio, torch.ones_like(ratio))
        self.factors.copy_(len(self.tasks) * torch.softmax(ratio / self.temperature, dim=0))


class UncertaintyWeighting(nn.Module):
    """Weighting by homoscedastic uncertainty with a trained log-variance ``s_k`` per task.

    ``total = sum_k exp(-s_k) L_k + s_k``, ``s_k = log sigma_k^2``, 0 at the start. This is twice the form of Kendall,
    Gal and Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses", CVPR 2018, eq. 7 (``L / (2 sigma^2) +
    log sigma``), used for every task as in LibMTL; the factor two leaves its minimiser (``exp(s_k) = L_k``) where it
    is and makes the total that of equal weighting at the start. Dice + BCE and L1 are no Gaussian likelihoods, so
    that finer distinctions between kinds of task have no ground.

    A task that has nothing labelled in the batch adds neither term. With one task the loss is plain ``L`` and the
    log-variance is not trained. The log-variances are to be trained by the network's optimiser without weight decay
    (see ``parameter_groups``); in distributed training their gradients are averaged over the ranks here, because they
    are no part of the wrapped network.

    Args:
        tasks: names of the tasks.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks = _checked(tasks)
        self.log_variances = nn.Parameter(torch.zeros(len(self.tasks)), requires_grad=len(self.tasks) > 1)

    @property
    def weights(self) -> dict[str, float]:
        """``exp(-s_k)`` of each task, as in use now."""
        return dict(zip(self.tasks, torch.exp(-self.log_variances.detach()).tolist(), strict=True))

    def update(self, epoch_losses: Mapping[str, float]) -> None:
        """Take the epoch means; the log-variances do not depend on them."""

    def forward(self, losses: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """
        Args:
            losses: scalar loss of each task that has a label in the batch.

        Returns:
            scalar.
        """
        s = self.log_variances.clone()
        if s.requires_grad:
            s.register_hook(mean_over_ranks)
        # With the empty slice s is in the graph of every rank in every step, and so no rank waits for another.
        total = s[:0].sum()
        for task, loss in losses.items():
            k = self.tasks.index(task)
            total = total + (torch.exp(-s[k]) * loss + s[k] if len(self.tasks) > 1 else loss)
        return total


_SUMS: dict[str, type[nn.Module]] = {
    "equal": EqualWeighting,
    "dwa": DynamicWeightAverage,
    "uncertainty": UncertaintyWeighting,
}
WEIGHTINGS = (*_SUMS, *GRADIENT_METHODS)


def make_weighting(name: str, tasks: Sequence[str]) -> nn.Module:
    """The weighting called ``name``, for ``tasks``.

    Args:
        name: "equal", "dwa" or "uncertainty"; or a gradient method, which weighs no losses: equal.
        tasks: names of the tasks.

    Raises:
        ConfigError: when there is no such weighting.
    """
    if name not in WEIGHTINGS:
        raise ConfigError(f"there is no weighting {name!r}: choose one of {', '.join(WEIGHTINGS)}.")
    return _SUMS.get(name, EqualWeighting)(tasks)
