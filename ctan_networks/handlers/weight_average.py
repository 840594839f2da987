# SPDX-License-Identifier: Apache-2.0
"""Exponential moving average of the weights."""

from __future__ import annotations

import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from torch import nn

from ctan_networks.processes import world_size

__all__ = ["WeightAverage"]


class WeightAverage:
    """Keep ``average`` an exponential moving average of ``network``, updated after each training step.

    The decay grows as ``min(decay, (1 + n) / (10 + n))`` with step n, so that the average forgets the initial weights.
    Buffers are copied; where processes have their own (batch norm on the CPU), those of the first count at the end of
    an epoch. When the engine starts, the average is the network, so that a federated round begins with the weights it
    was given. Attach it before what resumes a training.

    Args:
        network: the network in training.
        average: a network of the same structure; it is what is validated and saved.
        decay: weight of the past. 0: the average is the network itself.

    """

    def __init__(self, network: nn.Module, average: nn.Module, decay: float = 0.995) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must lie in [0, 1), got {decay}.")
        self.network = network
        self.average = average
        self.decay = decay

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.share_buffers)

    def start(self, engine: Engine) -> None:
        network = getattr(self.network, "module", self.network)
        self.average.load_state_dict(network.state_dict())

    def share_buffers(self, engine: Engine) -> None:
        if world_size() > 1:
            for buffer in self.average.buffers():
                dist.broadcast(buffer, src=0)

    @torch.no_grad()
    def __call__(self, engine: Engine) -> None:
        step = engine.state.iteration
        decay = min(self.decay, (1 + step) / (10 + step))
        network = getattr(self.network, "module", self.network)
        for kept, new in zip(self.average.parameters(), network.parameters(), strict=True):
            kept.lerp_(new.to(kept.device), 1 - decay)
        for old, current in zip(self.average.buffers(), network.buffers(), strict=True):
            old.copy_(current)
