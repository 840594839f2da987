# SPDX-License-Identifier: Apache-2.0
"""An evaluator one of whose processes may be left without a case."""

from __future__ import annotations

from ignite.engine import Events
from monai.engines import SupervisedEvaluator

__all__ = ["DistributedEvaluator"]


class DistributedEvaluator(SupervisedEvaluator):
    """MONAI's evaluator, that with fewer cases than processes does not leave the others waiting.

    MONAI's returns at once where the data loader is empty, while the others wait for its part of every metric. This one
    takes part in all but the iterations.
    """

    def run(self, global_epoch: int = 1) -> None:  # type: ignore[override]
        """Evaluate; ``global_epoch`` is the trainer's epoch."""
        if self.state.epoch_length != 0:
            super().run(global_epoch)
            return
        self.state.max_epochs = self.state.epoch = max(global_epoch, 1)
        self.state.iteration = 0
        for event in (Events.STARTED, Events.EPOCH_STARTED, Events.EPOCH_COMPLETED, Events.COMPLETED):
            self.fire_event(event)
