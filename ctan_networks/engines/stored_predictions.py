# SPDX-License-Identifier: Apache-2.0
"""Evaluate predictions that lie on disk, without any network."""

from __future__ import annotations

from typing import Any

from ignite.engine import Engine
from monai.engines.utils import IterationEvents

__all__ = ["stored_predictions"]


def stored_predictions(engine: Engine, batch: dict[str, Any]) -> dict[str, Any]:
    """Iteration of an evaluator whose batch already holds ``predicted_<task>``: hand it on as the output.

    Pass it as ``iteration_update`` of :py:class:`monai.engines.SupervisedEvaluator`.
    """
    output = {key: value for key, value in batch.items() if str(key).startswith("predicted_")}
    output["label"] = engine.prepare_batch(batch, engine.state.device)[1]  # type: ignore[attr-defined]
    engine.state.output = output  # type: ignore[assignment]
    # MONAI's evaluator decollates and postprocesses on this event, which its own iteration fires.
    engine.fire_event(IterationEvents.MODEL_COMPLETED)
    return engine.state.output  # type: ignore[return-value]
