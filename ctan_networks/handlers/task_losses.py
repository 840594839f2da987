# SPDX-License-Identifier: Apache-2.0
"""Close an epoch of a multi-task loss and write down what it was."""

from __future__ import annotations

import csv
import io
import math
import os
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from ctan_networks.errors import DataError
from ctan_networks.handlers.checkpoint_files import save_text
from ctan_networks.handlers.tracking import track_training
from ctan_networks.processes import rank

__all__ = ["TaskLosses"]


class TaskLosses:
    """After each epoch: mean loss of each task to the weighting, to ``engine.state.metrics`` and to a history file.

    In ``engine.state.metrics`` (which MONAI's TensorBoard and MLflow handlers read) stand ``loss_<task>`` and
    ``weight_<task>``. The history file is a CSV (epoch, name, value) that also takes the validation metrics of
    ``evaluator``; rows of epochs that are run again after a resume are replaced. Of several processes the first writes.

    Args:
        loss: a :py:class:`ctan_networks.losses.MultiTaskLoss`.
        history: path of the CSV; None: none.
        evaluator: validation engine whose metrics are written down after each of its runs.

    """

    def __init__(self, loss: Any, history: str | os.PathLike | None = None, evaluator: Engine | None = None) -> None:
        self.loss = loss
        self.history = Path(history) if history is not None else None
        self.evaluator = evaluator
        self.epoch = 0

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, track_training)
        # The sums of an epoch that was cut off are not those of the one that is run in its place.
        engine.add_event_handler(Events.EPOCH_STARTED, self.start_epoch)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)
        if self.evaluator is not None:
            self.evaluator.add_event_handler(Events.COMPLETED, self.record_validation)

    def start_epoch(self, engine: Engine) -> None:
        self.epoch = engine.state.epoch
        self.loss.reset()

    def __call__(self, engine: Engine) -> None:
        weights = {f"weight_{task}": value for task, value in self.loss.weighting.weights.items()}
        losses = {f"loss_{task}": value for task, value in self.loss.end_epoch().items()}
        engine.state.metrics.update(losses | weights)
        self.record(losses | weights)

    def record_validation(self, evaluator: Engine) -> None:
        values = evaluator.state.metrics
        self.record({name: float(v) for name, v in values.items() if isinstance(v, int | float)})

    def record(self, values: dict[str, float]) -> None:
        if self.history is None or rank() > 0:
            return
        rows = read_history(self.history)
        rows = [row for row in rows if row[0] < self.epoch or (row[0] == self.epoch and row[1] not in values)]
        rows += [(self.epoch, name, value) for name, value in values.items()]
        table = io.StringIO(newline="")
        writer = csv.writer(table)
        writer.writerow(["epoch", "name", "value"])
        writer.writerows((epoch, name, "" if math.isnan(value) else repr(value)) for epoch, name, value in rows)
        save_text(table.getvalue(), self.history)


def read_history(path: str | os.PathLike) -> list[tuple[int, str, float]]:
    """Rows (epoch, name, value) of a history file; none when there is no such file.

    Raises:
        DataError: when it is none.

    """
    if not Path(path).is_file():
        return []
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [(int(r["epoch"]), str(r["name"]), float(r["value"] or "nan")) for r in csv.DictReader(file)]
    except (KeyError, OSError, TypeError, ValueError, csv.Error) as error:
        raise DataError(
            f"{os.fspath(path)} cannot be read as the history of a training ({error}). It is for curves alone: remove"
            " it, or put back what was there; then go on with --resume True."
        ) from error
