# SPDX-License-Identifier: Apache-2.0
"""One MLflow run for a training and its evaluations (``--tracking mlflow`` of ``monai.bundle``)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.handlers import MLFlowHandler

__all__ = ["track_evaluation", "track_training"]


def track_training(engine: Engine) -> None:
    """Have MONAI's MLFlowHandler find the loss of a step in the output of a trainer that does not decollate it.

    To be called when the engine starts. It does nothing where no MLFlowHandler is attached.
    """
    handler = _attached(engine)
    if handler is not None:
        handler.output_transform = _loss


def track_evaluation(engine: Engine, folder: Path) -> None:
    """Have MONAI's MLFlowHandler add an evaluation to the run of its training, with the report as artifact.

    To be called when the engine starts, before that handler's own start. It does nothing where no MLFlowHandler is
    attached. By itself the handler makes a run of its own for each evaluation, never ends it, and its scores have the
    names of those of training's validations.

    Scores are logged as ``<name of the folder>/<metric>``, the folder itself when the engine completes.

    Args:
        engine: the evaluator.
        folder: where the report is written.
    """
    handler = _attached(engine)
    if handler is None:
        return
    _reopen(handler)
    if handler.epoch_logger is not None:
        return  # the engine runs again

    def log_scores(engine: Engine) -> None:
        for name, value in engine.state.metrics.items():
            if isinstance(value, int | float) and math.isfinite(value):
                handler.client.log_metric(handler.cur_run.info.run_id, f"{folder.name}/{name}", value)

    def log_folder(engine: Engine) -> None:
        handler.client.log_artifacts(handler.cur_run.info.run_id, str(folder), folder.name)
        handler.close()

    handler.epoch_logger = log_scores
    # Added now, it comes behind the writing of the report.
    engine.add_event_handler(Events.COMPLETED, log_folder)


def _loss(output: Any) -> Any:
    return (output if isinstance(output, Mapping) else output[0])["loss"]


def _attached(engine: Engine) -> Any | None:
    # Ignite has no public list of handlers.
    for entry in engine._event_handlers[Events.STARTED]:
        owner = getattr(entry[0], "__self__", None)
        if isinstance(owner, MLFlowHandler):
            return owner
    return None


def _reopen(handler: Any) -> None:
    """Mark the latest run of this name as running, for the handler goes on in such a one."""
    experiment = handler.client.get_experiment_by_name(handler.experiment_name)
    if experiment is None or handler.run_name is None:
        return
    # Newest first.
    for run in handler.client.search_runs([experiment.experiment_id]):
        if run.info.run_name == handler.run_name:
            handler.client.update_run(run.info.run_id, status="RUNNING")
            return
