# SPDX-License-Identifier: Apache-2.0
"""Draws of the network itself (dropout), from (seed, step) alone."""

from __future__ import annotations

import torch
from ignite.engine import Engine, Events

from ctan_networks.processes import rank
from ctan_networks.utils import derive_seed

__all__ = ["StepSeed"]


class StepSeed:
    """Seed torch's generators before each step, so that a resumed run draws what the uninterrupted one would have.

    Of several processes each draws on its own, since its cases are others; the first draws as a single one does.

    Args:
        seed: the run's seed.

    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        process = (rank(),) if rank() else ()
        torch.manual_seed(derive_seed(self.seed, "step", engine.state.iteration, *process))
