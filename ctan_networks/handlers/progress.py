# SPDX-License-Identifier: Apache-2.0
"""A progress bar over the whole training."""

from __future__ import annotations

import sys
from typing import Any

from ignite.engine import Engine, Events
from tqdm import tqdm

from ctan_networks.processes import rank

__all__ = ["Progress"]


class Progress:
    """One bar for all epochs, with the running loss of each task and the time that is left; in the first process only.

    Args:
        loss: a :py:class:`ctan_networks.losses.MultiTaskLoss`, whose ``task_losses`` of each step are shown as a
            running mean.
        momentum: weight of the past in the running mean.

    """

    def __init__(self, loss: Any, momentum: float = 0.95) -> None:
        self.loss = loss
        self.momentum = momentum
        self.running: dict[str, float] = {}
        self.bar: Any = None

    def attach(self, engine: Engine) -> None:
        if rank() > 0:
            return
        # EPOCH_STARTED and not STARTED: a resume sets the epoch in STARTED.
        engine.add_event_handler(Events.EPOCH_STARTED, self.open)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED | Events.TERMINATE | Events.EXCEPTION_RAISED, self.close)

    def open(self, engine: Engine) -> None:
        if self.bar is None:
            steps = engine.state.epoch_length or 0
            self.bar = tqdm(
                total=(engine.state.max_epochs or 0) * steps,
                initial=(engine.state.epoch - 1) * steps,
                unit="step",
                dynamic_ncols=True,
                # A log file wants a line now and then, a terminal a bar that moves.
                mininterval=0.5 if sys.stderr.isatty() else 30,
            )
        self.bar.set_description(f"epoch {engine.state.epoch}/{engine.state.max_epochs}", refresh=False)

    def __call__(self, engine: Engine) -> None:
        for task, value in self.loss.task_losses.items():
            if self.loss.labelled.get(task, True):
                past = self.running.get(task, float(value))
                self.running[task] = self.momentum * past + (1 - self.momentum) * float(value)
        self.bar.set_postfix({task: f"{value:.3f}" for task, value in self.running.items()}, refresh=False)
        self.bar.update(1)

    def close(self, engine: Engine, *args: Any) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        if args:
            raise args[0]  # ignite swallows an exception that has a handler
