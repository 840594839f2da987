# SPDX-License-Identifier: Apache-2.0
"""One CSV with the probabilities of every case of an inference."""

from __future__ import annotations

import csv
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.processes import gather_in_turn, rank, world_size
from ctan_networks.utils import result_path

__all__ = ["ProbabilityTable"]

logger = logging.getLogger(__name__)

# Writing may take this share of the run's time, however long the table grows.
WRITING_SHARE = 0.02


class ProbabilityTable:
    """Collect the probabilities of each case and write them as one CSV.

    After each iteration it reads ``engine.state.output`` and, for the name of the case, ``engine.state.batch``: lists
    of one dictionary a case, with ``case`` and ``predicted_<task>``, the probabilities ``[classes]`` after softmax.

    A row holds ``case`` and, for each task, ``p_<task>_<class>`` for each class and ``<task>``, the name of the most
    probable class. With ``submission`` the columns are those of ISIC's submission form instead: ``image`` and the
    classes in capitals. Rows stand in the order of prediction.

    The file is written anew from time to time, when the run completes and when it ends with an error, each time whole
    or not at all, so that a run that is cut off leaves what was predicted. **A new run replaces the file** of an
    earlier one with its first row, since its cases are predicted again; until then the old file stays.

    Of several processes the first writes: in the end the cases of all, in the order of the data list, until then its
    own.

    Args:
        path: the CSV; its folder is made if need be.
        tasks: task to the names of its classes, in the order of the probabilities. A task whose predictions are
            missing in a case has empty cells there.
        every: least number of seconds between two writings of a running inference. Where writing is slow, or the
            table is long, it is done less often, so that it takes no more than a fiftieth of the time.
        submission: write ISIC's submission form; for a single task.

    Raises:
        ConfigError: when there is no task, a task has no class or one twice, two columns have one name, or
            ``submission`` is asked for several tasks.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        tasks: Mapping[str, Sequence[str]],
        every: float = 10.0,
        submission: bool = False,
    ) -> None:
        self.path = Path(path)
        self.tasks = {task: [str(name) for name in classes] for task, classes in tasks.items()}
        self.every = every
        self.submission = submission
        if not self.tasks or any(len(classes) == 0 for classes in self.tasks.values()):
            raise ConfigError(f"ProbabilityTable: tasks must name tasks and their classes, got {self.tasks}.")
        if submission and len(self.tasks) > 1:
            raise ConfigError(f"ProbabilityTable: a submission is of one task, not of {', '.join(self.tasks)}.")
        self.columns = self._columns()
        twice = sorted({name for name in self.columns if self.columns.count(name) > 1})
        if twice:
            raise ConfigError(f"ProbabilityTable: columns would be there twice: {', '.join(twice)}. Rename a class.")
        self.rows: dict[str, list[Any]] = {}
        self.written = 0
        self.next_writing = 0.0

    def attach(self, engine: Engine) -> None:
        """Collect each iteration of ``engine``."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self.gather)
        engine.add_event_handler(Events.COMPLETED | Events.TERMINATE | Events.EXCEPTION_RAISED, self.finish)

    def start(self, engine: Engine) -> None:
        """Forget an earlier run of the same engine."""
        self.rows, self.written, self.next_writing = {}, 0, 0.0

    def __call__(self, engine: Engine) -> None:
        """Collect the cases of one iteration, and write if it is time."""
        # MONAI keeps what the postprocessing made in the output and what the data list gave (name, CT) in the batch.
        batch: Any = engine.state.batch
        output: Any = engine.state.output
        items = batch if isinstance(batch, list) and len(batch) == len(output) else [{}] * len(output)
        for given, made in zip(items, output, strict=True):
            self._add({**given, **made} if isinstance(given, Mapping) else made)
        if time.monotonic() >= self.next_writing:
            self.write()

    def gather(self, engine: Engine) -> None:
        """Bring together the cases of all processes, in the order of the data list."""
        if world_size() == 1:
            return
        rows, self.rows = gather_in_turn(list(self.rows.items())), {}
        for case, row in rows:
            self._check_new(case)
            self.rows[case] = row

    def finish(self, engine: Engine, *args: Any) -> None:
        """Write what is not written yet."""
        try:
            self.write()
        finally:
            if args:
                raise args[0]  # ignite swallows an exception that has a handler
        if rank() > 0:
            return
        if not self.rows:
            logger.warning("no case was predicted: %s is not written.", self.path)
        else:
            logger.info("probabilities of %d cases: %s", len(self.rows), self.path)

    def write(self) -> None:
        """Write the rows so far, if there are new ones."""
        if len(self.rows) == self.written or rank() > 0:
            return
        started = time.monotonic()
        # A name of a file need not be Unicode.
        with (
            result_path(self.path) as path,
            open(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as file,
        ):
            csv.writer(file, lineterminator=os.linesep).writerows([self.columns, *self.rows.values()])
        self.written = len(self.rows)
        ended = time.monotonic()
        self.next_writing = ended + max(self.every, (ended - started) / WRITING_SHARE)

    def _columns(self) -> list[str]:
        if self.submission:
            return ["image", *(name.upper() for classes in self.tasks.values() for name in classes)]
        columns = ["case"]
        for task, classes in self.tasks.items():
            columns += [f"p_{task}_{name}" for name in classes] + [task]
        return columns

    def _add(self, item: Mapping[str, Any]) -> None:
        case = str(item.get("case", "")).strip()
        if not case:
            raise DataError("ProbabilityTable: a prediction has no case; give each item of the data list its name.")
        self._check_new(case)
        row: list[Any] = [case]
        for task, classes in self.tasks.items():
            values = self._values(case, item.get(f"predicted_{task}"), task, classes)
            row += values
            if not self.submission:
                row.append(classes[max(range(len(classes)), key=values.__getitem__)] if values[0] is not None else None)
        self.rows[case] = row

    def _check_new(self, case: str) -> None:
        if case in self.rows:
            raise DataError(f"{case}: predicted twice; remove one of them from the data list.")

    def _values(self, case: str, prediction: Any, task: str, classes: Sequence[str]) -> list[Any]:
        if prediction is None:
            return [None] * len(classes)
        values = torch.as_tensor(prediction).detach().flatten().double().tolist()
        if len(values) != len(classes):
            raise DataError(
                f"{case}: predicted_{task} has {len(values)} values, there are {len(classes)} classes:"
                f" {', '.join(classes)}."
            )
        if not all(-1e-3 <= v <= 1 + 1e-3 for v in values):
            raise DataError(f"{case}: predicted_{task} is no probability: {values}. It needs a softmax before.")
        # float32 has some seven figures; more would be those of its binary form.
        return [float(f"{v:.7g}") for v in values]
