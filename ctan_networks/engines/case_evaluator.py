# SPDX-License-Identifier: Apache-2.0
"""An evaluator for inference: one case that goes wrong does not end the run."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Mapping
from typing import Any

from ignite.engine import Events
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents, engine_apply_transform

from ctan_networks.errors import ConfigError, DataError, causes, reason_of

__all__ = ["CaseByCaseEvaluator"]

logger = logging.getLogger(__name__)

# Of what goes wrong while writing, this concerns every case after it too.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class CaseByCaseEvaluator(SupervisedEvaluator):
    """MONAI's evaluator, that goes on with the next case where one cannot be predicted or its results not be written.

    As :py:class:`ctan_networks.data.ReadableCases` does for what cannot be read: each case that is skipped is logged
    with its reason, and they are counted at the end. What was written of such a case stays, each file whole. A setting
    that is wrong (ConfigError) and a full disk end the run at once, since they concern all cases.

    Arguments are those of ``monai.engines.SupervisedEvaluator``.

    Raises:
        DataError: at the end, when there is not a single case whose results could be written.

    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.done = 0
        self.skipped: list[str] = []
        self.add_event_handler(Events.STARTED, self._begin)
        # After the handlers of the configuration, such as one that writes a table of what was predicted.
        self.add_event_handler(Events.COMPLETED, self._end)

    def _begin(self) -> None:
        self.done, self.skipped = 0, []

    def _end(self) -> None:
        total = self.done + len(self.skipped)
        if self.skipped:
            logger.error("skipped %d of %d cases, named above.", len(self.skipped), total)
        if self.skipped and not self.done:
            raise DataError(f"none of {total} cases has results. The first: {self.skipped[0]}")

    def _iteration(self, engine: SupervisedEvaluator, batchdata: Any) -> Any:
        try:
            return super()._iteration(engine, batchdata)
        except Exception as error:  # noqa: BLE001  whatever a case leads to, the others are still there
            for name in _names(batchdata):
                self._skip(name, error)
            engine.state.batch, engine.state.output = [], []
            return []

    def _register_postprocessing(self, posttrans: Callable) -> None:
        """MONAI's, for each case by itself; those that go wrong are no longer in the batch and the output."""

        @self.on(IterationEvents.MODEL_COMPLETED)
        def _run_postprocessing(engine: SupervisedEvaluator) -> None:
            batch, output = engine.state.batch, engine.state.output
            if not isinstance(batch, list) or not isinstance(output, list):
                engine.state.batch, engine.state.output = engine_apply_transform(batch, output, posttrans)
                self.done += len(_names(batch))
                return
            kept = []
            for given, made in zip(batch, output, strict=True):
                try:
                    kept.append(engine_apply_transform(given, made, posttrans))
                except Exception as error:  # noqa: BLE001, PERF203  as above
                    self._skip(_names(given)[0], error)
            engine.state.batch, engine.state.output = [pair[0] for pair in kept], [pair[1] for pair in kept]
            self.done += len(kept)

    def _skip(self, name: str, error: Exception) -> None:
        for cause in causes(error):
            if isinstance(cause, ConfigError) or (isinstance(cause, OSError) and cause.errno in FULL):
                raise error
        reason = reason_of(error)
        text = reason if f"case {name}:" in reason else f"case {name}: {reason}"
        logger.error("skipped: %s", text)
        logger.debug("case %s", name, exc_info=error)
        self.skipped.append(text)


def _names(batch: Any) -> list[str]:
    """Names of the cases of a batch, or of a case."""
    names = batch.get("case", "?") if isinstance(batch, Mapping) else "?"
    return [names] if isinstance(names, str) else [str(name) for name in names]
