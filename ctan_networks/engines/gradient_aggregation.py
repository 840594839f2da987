# SPDX-License-Identifier: Apache-2.0
"""Training steps in which the tasks' gradients, not their losses, are combined: PCGrad, CAGrad, UPGrad and others."""

from __future__ import annotations

from typing import Any

import torch
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.utils.enums import CommonKeys as Keys

from ctan_networks.errors import ConfigError
from ctan_networks.losses import MultiTaskLoss
from ctan_networks.losses.gradient_methods import make_aggregator
from ctan_networks.processes import world_size

__all__ = ["GradientAggregation", "gradient_step"]


def gradient_step(weighting: str) -> GradientAggregation | None:
    """What ``iteration_update`` of a trainer is for a weighting: None (MONAI's own step) for one that sums losses.

    Args:
        weighting: name of a weighting or a gradient method.

    Raises:
        ConfigError: see :py:func:`ctan_networks.losses.gradient_methods.make_aggregator`; and in several processes, as
            these methods ask for the gradients of each task, which DistributedDataParallel does not average.

    """
    aggregator = make_aggregator(weighting)
    if aggregator is not None and world_size() > 1:
        raise ConfigError(
            f"the weighting {weighting!r} combines gradients of tasks, which are not averaged over processes: train in"
            " one process, or with --weighting equal, dwa or uncertainty."
        )
    return GradientAggregation(aggregator) if aggregator is not None else None


class GradientAggregation:
    """One training step that combines the gradients of the tasks with a TorchJD aggregator.

    The rows of the Jacobian are the tasks that have a label in the batch, the columns the parameters that two or more
    of them depend on. A parameter that one task alone depends on gets that task's gradient. With one labelled task it
    is the plain step. The loss that is reported is the sum of the tasks' losses.

    Args:
        aggregator: from a Jacobian ``[tasks, parameters]`` to an update ``[parameters]``.

    """

    def __init__(self, aggregator: Any) -> None:
        self.aggregator = aggregator

    def __call__(self, engine: SupervisedTrainer, batchdata: dict[str, Any]) -> dict[str, Any]:
        """The iteration; pass the object as ``iteration_update``.

        Raises:
            ConfigError: when the trainer's loss is not a MultiTaskLoss.

        """
        loss = engine.loss_function
        if not isinstance(loss, MultiTaskLoss):
            raise ConfigError("gradient methods need a MultiTaskLoss.")
        inputs, targets = engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking)  # type: ignore[misc]
        engine.state.output = {Keys.IMAGE: inputs, Keys.LABEL: targets}  # type: ignore[assignment]
        output: Any = engine.state.output
        engine.network.train()
        engine.optimizer.zero_grad(set_to_none=engine.optim_set_to_none)
        output[Keys.PRED] = engine.inferer(inputs, engine.network)
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        each = loss.each(output[Keys.PRED], targets)
        losses = [value for task, value in each.items() if loss.labelled[task]]
        output[Keys.LOSS] = torch.stack(list(each.values())).sum().detach()
        engine.fire_event(IterationEvents.LOSS_COMPLETED)
        self.backward(losses or list(each.values()), [p for p in engine.network.parameters() if p.requires_grad])
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        engine.optimizer.step()
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return output

    def backward(self, losses: list[torch.Tensor], parameters: list[torch.nn.Parameter]) -> None:
        """Set the gradient of each parameter.

        Args:
            losses: scalar loss of each labelled task.
            parameters: of the network.

        """
        last = len(losses) - 1
        rows = [
            torch.autograd.grad(value, parameters, retain_graph=k < last, allow_unused=True)
            for k, value in enumerate(losses)
        ]
        columns = list(zip(*rows, strict=True))
        shared = [k for k, own in enumerate(columns) if sum(g is not None for g in own) > 1]
        for k, own in enumerate(columns):
            known = [g for g in own if g is not None]
            if len(known) == 1:
                parameters[k].grad = known[0]
        if not shared:
            return
        jacobian = torch.stack(
            [torch.cat([_flat(columns[k][r], parameters[k]) for k in shared]) for r in range(len(losses))]
        )
        # Some methods factorise it, which fails for NaN from inside; the sum hands on what is not finite.
        update = self.aggregator(jacobian) if bool(jacobian.isfinite().all()) else jacobian.sum(0)
        sizes = [parameters[k].numel() for k in shared]
        for k, part in zip(shared, update.split(sizes), strict=True):
            parameters[k].grad = part.reshape(parameters[k].shape)


def _flat(gradient: torch.Tensor | None, parameter: torch.Tensor) -> torch.Tensor:
    return (torch.zeros_like(parameter) if gradient is None else gradient).reshape(-1)
