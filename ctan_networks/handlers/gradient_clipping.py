# SPDX-License-Identifier: Apache-2.0
"""Clip the norm of the gradients before each step."""

from __future__ import annotations

from ignite.engine import Engine
from monai.engines.utils import IterationEvents
from torch import nn

__all__ = ["GradientClipping"]


class GradientClipping:
    """Clip the gradients' total norm after the backward pass, in mixed precision too.

    Args:
        network: whose gradients are clipped.
        max_norm: their largest allowed Euclidean norm.

    """

    def __init__(self, network: nn.Module, max_norm: float) -> None:
        self.network = network
        self.max_norm = max_norm

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        if engine.scaler is not None:  # type: ignore[attr-defined]
            engine.scaler.unscale_(engine.optimizer)  # type: ignore[attr-defined]
        nn.utils.clip_grad_norm_(self.network.parameters(), self.max_norm)
