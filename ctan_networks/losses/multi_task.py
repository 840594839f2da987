# SPDX-License-Identifier: Apache-2.0
"""One loss for several tasks, of which a batch may have labels for some only.

It needs a network that gives ``{task: tensor}`` and labels under the same names, and nothing else of this package:

    >>> import torch
    >>> from ctan_networks.losses import DiceBCELoss, MaskedL1Loss, MultiTaskLoss, parameter_groups
    >>> class Network(torch.nn.Conv3d):
    ...     def forward(self, x):
    ...         y = super().forward(x)
    ...         return {"segmentation": y[:, :2], "dose": y[:, 2:]}
    >>> network = Network(1, 3, kernel_size=3, padding=1)
    >>> label = {"segmentation": torch.ones(1, 2, 8, 8, 8), "dose": torch.full((1, 1, 8, 8, 8), 60.0)}
    >>> label["segmentation"][:, 1] = torch.nan  # the second structure is unknown
    >>> losses = {"segmentation": DiceBCELoss(), "dose": MaskedL1Loss(scale=70)}
    >>> loss = MultiTaskLoss(losses, weighting="dwa")
    >>> optimizer = torch.optim.AdamW(parameter_groups(loss, network, weight_decay=1e-5), lr=1e-2)
    >>> for epoch in range(3):
    ...     total = loss(network(torch.rand(1, 1, 8, 8, 8)), label)
    ...     optimizer.zero_grad()
    ...     total.backward()
    ...     optimizer.step()
    ...     means = loss.end_epoch()
    >>> sorted(means), sorted(loss.weighting.weights)
    (['dose', 'segmentation'], ['dose', 'segmentation'])
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ctan_networks.errors import ConfigError

from .over_ranks import mean_over_ranks, several_train
from .weightings import make_weighting

__all__ = ["MultiTaskLoss", "parameter_groups"]


class MultiTaskLoss(nn.Module):
    """The weighted sum of the losses of several tasks.

    A loss module may have a method ``known(target, ...)``, with the arguments of its ``forward`` after the first, that
    says whether a batch has any label for it; one without always has. A task with no label in a batch adds nothing to
    the total, but stays in its graph (distributed training wants every parameter in it), and the batch does not count
    in the epoch mean of that task.

    Epoch means are plain means over the labelled batches, collected only while the module is in training mode and
    gradients are enabled, so that a validation loss does not enter the weighting. Call ``end_epoch`` after each epoch
    (on every rank) before a checkpoint is written; sums of an unfinished epoch are not part of the state dict. Call
    ``reset`` where an epoch may have been cut off and is run again, and ``take_back`` where a step is left out.

    After a call, ``task_losses`` holds the detached, unweighted loss of each task and ``labelled`` whether the batch
    had a label for it. Losses that are not finite are passed on as they are, but do not count in the epoch means.

    In a training of several processes the batch is that of all of them: a task is labelled where any process has a
    label for it, ``task_losses`` are means over the processes, and with the losses of this package they and the epoch
    means are those of one process with all the cases. A loss of another package is averaged over the processes as it
    is. Every process must make every call.

    Args:
        losses: the loss module of each task.
        weighting: module as in ``ctan_networks.losses.weightings``, or the name of one; None: equal.
        tasks: the tasks in use, in order; None: all in ``losses``.
        masks: for some tasks the key of the label dict whose tensor is the third argument of the task's loss; or a
            list of keys, for the third and further arguments.

    Raises:
        ConfigError: when a task has no loss, or the weighting is for other tasks.
    """

    loss_sums: torch.Tensor
    batches: torch.Tensor

    def __init__(
        self,
        losses: Mapping[str, nn.Module],
        weighting: nn.Module | str | None = None,
        tasks: Sequence[str] | None = None,
        masks: Mapping[str, str | Sequence[str]] | None = None,
    ) -> None:
        super().__init__()
        self.tasks = tuple(losses if tasks is None else tasks)
        self.masks = {task: [keys] if isinstance(keys, str) else list(keys) for task, keys in (masks or {}).items()}
        for task in (*self.tasks, *self.masks):
            if task not in losses:
                raise ConfigError(f"task {task!r} has no loss: there are losses for {', '.join(losses)}.")
        self.losses = nn.ModuleDict({task: losses[task] for task in self.tasks})
        if weighting is None or isinstance(weighting, str):
            weighting = make_weighting(weighting or "equal", self.tasks)
        weighted: Any = getattr(weighting, "tasks", self.tasks)
        if set(weighted) != set(self.tasks):
            raise ConfigError(f"the weighting is for the tasks {list(weighted)}, the loss for {list(self.tasks)}.")
        self.weighting: Any = weighting
        self.task_losses: dict[str, torch.Tensor] = {}
        self.labelled: dict[str, bool] = {}
        self.register_buffer("loss_sums", torch.zeros(len(self.tasks)), persistent=False)
        self.register_buffer("batches", torch.zeros(len(self.tasks)), persistent=False)
        self.before: tuple[torch.Tensor, torch.Tensor] | None = None

    def forward(self, pred: Mapping[str, torch.Tensor], label: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """
        Args:
            pred: output of the network for each task.
            label: label of each task, and the masks; more keys do no harm.

        Returns:
            scalar.

        Raises:
            ConfigError: when a task has no prediction, label or mask, or their shapes do not fit.
        """
        losses = self.each(pred, label)
        total = self.weighting({task: loss for task, loss in losses.items() if self.labelled[task]})
        for task, loss in losses.items():
            if not self.labelled[task]:
                total = total + loss
        return total

    def each(self, pred: Mapping[str, torch.Tensor], label: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The unweighted loss of each task, as a scalar with its graph; arguments and errors as of a call.

        For methods that combine gradients rather than losses. What a call notes, this notes too.
        """
        losses: dict[str, torch.Tensor] = {}
        labelled: dict[str, bool] = {}
        for task, module in self.losses.items():
            arguments = self._arguments(task, pred, label)
            known: Any = getattr(module, "known", None)
            try:
                labelled[task] = known is None or bool(known(*arguments[1:]))
                losses[task] = module(*arguments)
            except ConfigError as error:
                raise ConfigError(f"task {task!r}: {error}") from error
        values = {task: loss.detach() for task, loss in losses.items()}
        if several_train(self.training):
            labelled, values = self._over_ranks(labelled, values)
        self.labelled, self.task_losses = labelled, values
        if self.training and torch.is_grad_enabled():
            self.before = (self.loss_sums.clone(), self.batches.clone())
            for k, task in enumerate(self.tasks):
                # A step with such a loss is left out, or the training stops.
                if labelled[task] and bool(values[task].isfinite()):
                    self.loss_sums[k] += self.task_losses[task].to(self.loss_sums.device)
                    self.batches[k] += 1
        return losses

    def _over_ranks(
        self, labelled: dict[str, bool], values: dict[str, torch.Tensor]
    ) -> tuple[dict[str, bool], dict[str, torch.Tensor]]:
        own = torch.stack([value.float() for value in values.values()])
        both = torch.stack([own, own.new_tensor([labelled[task] for task in values])])
        means, shares = mean_over_ranks(both)
        return dict(zip(values, (shares > 0).tolist(), strict=True)), dict(zip(values, means, strict=True))

    def _arguments(
        self, task: str, pred: Mapping[str, torch.Tensor], label: Mapping[str, torch.Tensor]
    ) -> list[torch.Tensor]:
        if task not in pred:
            raise ConfigError(f"task {task!r}: the network gives no such output, but {', '.join(pred)}.")
        keys = [task, *self.masks.get(task, ())]
        for key in keys:
            if key not in label:
                raise ConfigError(
                    f"task {task!r}: the labels have no {key!r}, but {', '.join(label)}. Load it, or take the task "
                    "out of the list of tasks; a label that is unknown is NaN (class: -1), not left out."
                )
        return [pred[task], *(label[key] for key in keys)]

    def end_epoch(self) -> dict[str, float]:
        """Close an epoch: hand its mean losses to the weighting, and start the next one.

        A loss with a method ``end_epoch`` of its own has it called.

        Returns:
            epoch mean of each task's unweighted loss, over all ranks; NaN where the task had no labelled batch.
        """
        sums, batches = self.loss_sums.tolist(), self.batches.tolist()
        means = {task: sums[k] / batches[k] if batches[k] else math.nan for k, task in enumerate(self.tasks)}
        self.weighting.update(means)
        for module in self.losses.values():
            end_epoch: Any = getattr(module, "end_epoch", None)
            if end_epoch is not None:
                end_epoch()
        self.reset()
        return means

    def take_back(self) -> None:
        """Forget the last batch: its step is left out, and so are the losses of those of its tasks that have one."""
        if self.before is not None:
            self.loss_sums.copy_(self.before[0])
            self.batches.copy_(self.before[1])

    def reset(self) -> None:
        """Forget the batches since the last ``end_epoch``."""
        self.before = None
        self.loss_sums.zero_()
        self.batches.zero_()


def parameter_groups(
    loss: nn.Module, network: nn.Module, weight_decay: float, encoder_learning_rate: float | None = None
) -> list[dict[str, Any]]:
    """Parameter groups for a ``torch.optim`` optimiser that trains a network and what its loss has to learn.

    Weight decay is for the network's kernels and matrices only: biases, the parameters of norm layers and learned
    scales (all with at most one dimension) and the log-variances of the loss have none. Frozen parameters are left out.

    Args:
        loss: e.g. a ``MultiTaskLoss``.
        network: the network.
        weight_decay: for the parameters of the network with two or more dimensions.
        encoder_learning_rate: of ``network.encoder``, which often starts from weights; None: the optimiser's.

    Returns:
        groups with keys "params", "weight_decay" and, for the encoder's, "lr"; empty ones left out.

    Raises:
        ConfigError: when a learning rate is given for an encoder that the network does not have.
    """
    encoder = getattr(network, "encoder", None)
    own: set[int] = set()
    if encoder_learning_rate is not None:
        if not isinstance(encoder, nn.Module):
            raise ConfigError(f"{type(network).__name__} has no encoder: leave encoder_learning_rate out.")
        own = {id(p) for p in encoder.parameters()}
    trained = [p for p in network.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = []
    for rate, parameters in (
        ({}, [p for p in trained if id(p) not in own]),
        ({"lr": encoder_learning_rate}, [p for p in trained if id(p) in own]),
    ):
        groups += [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay, **rate},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0, **rate},
        ]
    groups.append({"params": [p for p in loss.parameters() if p.requires_grad], "weight_decay": 0.0})
    return [group for group in groups if group["params"]]
