# SPDX-License-Identifier: Apache-2.0
"""Stop, or leave a step out, where loss or gradient is not a finite number."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from torch import nn

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.processes import gather_in_turn, world_size

__all__ = ["FiniteSteps"]

logger = logging.getLogger(__name__)

ACTIONS = ("stop", "skip")


class FiniteSteps:
    """Look at the loss and the gradients after each backward pass; attach it before what clips gradients.

    Where either holds NaN or infinity, the step that follows would ruin the weights. "stop" ends the training with the
    names of the batch's cases; the checkpoint of the last epoch stays as it is. "skip" leaves the step out (parameters
    and optimiser see no gradient, running statistics of norm layers are put back, no task's loss counts), says so, and
    stops when too many come in a row.

    Of several processes all stop or skip where one has to. With a gradient scaler (float16 on a GPU) only the loss is
    looked at: there infinite gradients are part of the method, and the scaler leaves those steps out itself.

    Args:
        network: the network in training.
        loss: a :py:class:`ctan_networks.losses.MultiTaskLoss`, which tells whose loss it is, and whose parameters are
            trained too; None: neither.
        action: "stop" or "skip".
        patience: with "skip", stop after so many steps in a row.

    Raises:
        ConfigError: when there is no such action.

    """

    def __init__(self, network: nn.Module, loss: Any = None, action: str = "stop", patience: int = 20) -> None:
        if action not in ACTIONS:
            raise ConfigError(f"on a loss that is not finite, choose one of {', '.join(ACTIONS)}, not {action!r}.")
        self.network = network
        self.loss = loss
        self.action = action
        self.patience = patience
        self.in_a_row = 0
        self.in_epoch = 0
        self.buffers: list[torch.Tensor] = []

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All that the training may change: the network's, and what the loss learns (weights of the tasks)."""
        learned = self.loss.parameters() if isinstance(self.loss, nn.Module) else ()
        return [*self.network.parameters(), *learned]

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self.start_epoch)
        if self.action == "skip":
            engine.add_event_handler(Events.ITERATION_STARTED, self.note_buffers)
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.report)

    def start_epoch(self, engine: Engine) -> None:
        self.in_epoch = 0

    def note_buffers(self, engine: Engine) -> None:
        # The forward pass changes batch norm's statistics before anybody knows what the loss will be.
        self.buffers = [buffer.clone() for buffer in self.network.buffers()]

    def __call__(self, engine: Engine) -> None:
        """
        Raises:
            DataError: when the training is to stop.
        """
        total = float(engine.state.output["loss"])  # type: ignore[index, call-overload]
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        scaler = getattr(engine, "scaler", None)
        scaled = scaler is not None and scaler.is_enabled()
        norm = 0.0 if scaled or not gradients else float(nn.utils.get_total_norm(gradients))
        wrong = not (math.isfinite(total) and math.isfinite(norm))
        if not _anywhere(wrong, next(self.network.parameters()).device):
            self.in_a_row = 0
            return
        found = gather_in_turn([(math.isfinite(total), self._tell(engine, total))] if wrong else [])
        # Gradients are those of all processes: where one has a loss that is not finite, the others' cases are innocent.
        where = "; ".join([text for finite, text in found if not finite] or [text for _, text in found])
        self.in_a_row += 1
        self.in_epoch += 1
        if self.action == "stop" or self.in_a_row >= self.patience:
            again = f", and {self.in_a_row} steps in a row by now" if self.in_a_row > 1 else ""
            raise DataError(
                f"{where}{again}. The training stops; last.pt holds the end of the last epoch. Look at the"
                " case's files, or go on with --resume True and a smaller --learning_rate, or with --on_nonfinite skip."
            )
        logger.warning("%s: this step is left out.", where)
        self.leave_out(scaled)

    @torch.no_grad()
    def leave_out(self, scaled: bool) -> None:
        for parameter in self.parameters:
            if scaled and parameter.grad is not None:
                # A scaler wants gradients to look at, and leaves the step out for these.
                parameter.grad.fill_(math.nan)
            else:
                # Without gradients an optimiser leaves parameters and moments alone.
                parameter.grad = None
        for buffer, before in zip(self.network.buffers(), self.buffers, strict=True):
            buffer.copy_(before)
        if hasattr(self.loss, "take_back"):
            # A weighting sees the epoch means of the losses.
            self.loss.take_back()

    def report(self, engine: Engine) -> None:
        if self.in_epoch:
            logger.warning(
                "epoch %d: %d of %s steps were left out, as loss or gradient was not finite.",
                engine.state.epoch,
                self.in_epoch,
                engine.state.epoch_length,
            )

    def _tell(self, engine: Engine, total: float) -> str:
        losses: Mapping[str, torch.Tensor] = getattr(self.loss, "task_losses", {})
        tasks = [task for task, value in losses.items() if not math.isfinite(float(value))]
        what = (
            f"the loss{' of ' + ' and '.join(tasks) if tasks else ''}" if not math.isfinite(total) else "the gradient"
        )
        names = case_names(engine.state.batch)
        return (
            f"epoch {engine.state.epoch}, step {engine.state.iteration}: {what} is not finite for"
            f" {'case ' + ', '.join(names) if names else 'a case without a name'}"
        )


def case_names(batch: Any) -> list[str]:
    """Names of the cases of a batch, as far as it has them under "case"."""
    if isinstance(batch, Mapping):
        names = batch.get("case", [])
        return [names] if isinstance(names, str) else [str(name) for name in names]
    if isinstance(batch, Iterable) and not isinstance(batch, str | torch.Tensor):
        return [name for part in batch for name in case_names(part)]
    return []


def _anywhere(wrong: bool, device: torch.device) -> bool:
    """Whether it is so in any process."""
    if world_size() == 1:
        return wrong
    flag = torch.tensor([float(wrong)], device=device)
    dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    return bool(flag.item())
