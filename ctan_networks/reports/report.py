# SPDX-License-Identifier: Apache-2.0
"""What every report of an evaluation does: numbers as they come, then a summary and one HTML page."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from ctan_networks.errors import DataError
from ctan_networks.handlers.tracking import track_evaluation
from ctan_networks.processes import gather_in_turn, rank, world_size
from ctan_networks.reports.figures import draw_history, to_uri
from ctan_networks.reports.html import render_page
from ctan_networks.reports.summary import strict
from ctan_networks.utils import atomic_path

__all__ = ["Report"]

# Seconds between two writings of the numbers: cases that take longer are each written at once.
WRITE_EVERY = 5.0


class Report(ABC):
    """Score every case of an evaluation; write the numbers, then ``summary.json`` and ``report.html``.

    After each iteration the cases are read from ``engine.state.output`` and, for what is not there, from
    ``engine.state.batch``: lists of one dictionary a case. The numbers are written at most every five seconds, and when
    the run ends, with an error too, so that a run that is cut off leaves what was scored.

    Several processes each score their own cases, and the first writes: at the end those of all, in the order of the
    data list, so that the files are those of one process; in between its own.

    Where MONAI's MLFlowHandler is attached to the same engine, the files become artifacts of the run that it tracks:
    :py:func:`ctan_networks.handlers.tracking.track_evaluation`.

    A subclass sets :py:attr:`template` and defines :py:meth:`score_case`, :py:meth:`write_numbers`,
    :py:meth:`summarise` and :py:meth:`illustrate`, and extends :py:meth:`gather`.

    Args:
        output_dir: folder for the files; made if need be.
        title: heading of the page.
        details: what was evaluated and how (architecture, checkpoint, recipe, split, versions, command ...); shown
            and written as it is.
        phantom: whether the cases are phantoms; page, summary and log then say so.
        history: CSV (epoch, name, value) that training wrote, for learning curves; left out when it is not there.
    """

    template: str

    def __init__(
        self,
        output_dir: str | os.PathLike,
        title: str,
        details: Mapping[str, Any] | None = None,
        phantom: bool = False,
        history: str | os.PathLike | None = None,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.title = title
        self.details = dict(details or {})
        self.phantom = phantom
        self.history = Path(history) if history is not None else None
        self.names: dict[str, None] = {}  # in order
        self.folder: tempfile.TemporaryDirectory | None = None
        self.written = 0
        self.next_writing = 0.0

    @abstractmethod
    def score_case(self, item: Mapping[str, Any]) -> None:
        """Score one case; it calls :py:meth:`register` with the case's name."""

    @abstractmethod
    def write_numbers(self) -> None:
        """Write the numbers of the cases so far."""

    @abstractmethod
    def summarise(self) -> dict[str, Any]:
        """Entries of ``summary.json`` beside ``title``, ``phantom``, ``notice`` and ``details``; ``scores`` is one.

        Of ``scores`` the page shows, and the log tells, ``title``, ``unit``, ``value``, ``low``, ``high`` and
        ``higher_is_better``.
        """

    @abstractmethod
    def illustrate(self) -> dict[str, Any]:
        """What the page shows beside the summary."""

    def attach(self, engine: Engine) -> None:
        """Score each iteration of ``engine`` and write the report when it completes."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.score)
        engine.add_event_handler(Events.COMPLETED, self.finish)
        engine.add_event_handler(Events.TERMINATE | Events.EXCEPTION_RAISED, self.stop)

    def start(self, engine: Engine) -> None:
        """Forget an earlier run of the same engine."""
        self.names, self.written, self.next_writing = {}, 0, 0.0
        if self.folder is not None:
            self.folder.cleanup()
        self.folder = tempfile.TemporaryDirectory(prefix="evaluation_report_")
        track_evaluation(engine, self.output_dir)

    def score(self, engine: Engine) -> None:
        """Score the cases of one iteration, and write the numbers so far if it is time."""
        # MONAI keeps what the postprocessing made in the output and what the data list gave (name, CT) in the batch.
        batch: Any = engine.state.batch
        output: Any = engine.state.output
        items = batch if isinstance(batch, list) and len(batch) == len(output) else [{}] * len(output)
        for given, made in zip(items, output, strict=True):
            self.score_case({**given, **made} if isinstance(given, Mapping) else made)
        if time.monotonic() >= self.next_writing:
            self._write()

    def finish(self, engine: Engine) -> None:
        """Write the summary, then the page."""
        if world_size() > 1:
            self.gather()
        if not self.names:
            name = type(self).__name__
            raise DataError(f"{name}: no case was evaluated; check the data list of the evaluation.")
        if rank() == 0:
            self._publish()
        self._tidy()

    def _publish(self) -> None:
        self._write()
        summary = {
            "title": self.title,
            "phantom": self.phantom,
            "notice": "PHANTOM RESULT: says nothing about patients" if self.phantom else "Research use only",
            "details": self.details,
            **self.summarise(),
        }
        with atomic_path(self.output_dir / "summary.json") as path:
            path.write_text(json.dumps(strict(summary), indent=2, allow_nan=False) + "\n", encoding="utf-8")
        page = render_page(self.template, {**summary, **self.illustrate(), "history": self._history()})
        report = self.output_dir / "report.html"
        with atomic_path(report) as path:
            path.write_text(page, encoding="utf-8")
        scores = "; ".join(f"{s['title']} {_interval(s)}" for s in summary["scores"])
        label = "PHANTOM RESULT, says nothing about patients: " if self.phantom else ""
        logger = logging.getLogger(type(self).__module__)
        logger.info("%s%d cases: %s. Report: %s", label, len(self.names), scores or "no score", report)

    def stop(self, engine: Engine, *args: Any) -> None:
        """Write the numbers of a run that ends early."""
        try:
            self._write()
        finally:
            if args:
                self._tidy()
                raise args[0]  # ignite swallows an exception that has a handler

    def register(self, name: str) -> None:
        """Note a case that can be scored.

        Raises:
            DataError: when it was there before.
        """
        if name in self.names:
            raise DataError(f"{name}: evaluated twice; remove one of them from the evaluation's data list.")
        self.names[name] = None

    def gather(self) -> None:
        """Bring together the cases of all processes, in the order of the data list; every process calls it.

        Raises:
            DataError: when two processes have a case of one name.
        """
        names = gather_in_turn(list(self.names))
        self.names = {}
        for name in names:
            self.register(name)

    def gather_files(self, files: Mapping[str, Path]) -> dict[str, Path]:
        """Files of all processes, by case, in this process's own folder: processes may be on several machines."""
        gathered: dict[str, Path] = {}
        for share in gather_in_turn([{name: path.read_bytes() for name, path in files.items()}]):
            for name, content in share.items():
                gathered[name] = self.scratch(f"gathered_{len(gathered)}.npz")
                gathered[name].write_bytes(content)
        return gathered

    def scratch(self, name: str) -> Path:
        """A path in a folder that is removed when the report is written."""
        assert self.folder is not None, "score() before start()"
        return Path(self.folder.name) / name

    def _write(self) -> None:
        if len(self.names) == self.written or rank() > 0:
            return
        self.write_numbers()
        # Those of an earlier run in the same folder would now contradict the numbers.
        for name in ("summary.json", "report.html"):
            (self.output_dir / name).unlink(missing_ok=True)
        self.written = len(self.names)
        self.next_writing = time.monotonic() + WRITE_EVERY

    def _tidy(self) -> None:
        if self.folder is not None:
            self.folder.cleanup()
            self.folder = None

    def _history(self) -> str | None:
        if self.history is None or not self.history.is_file():
            return None
        figure = draw_history(self.history)
        return to_uri(figure) if figure is not None else None


def _interval(score: Mapping[str, Any]) -> str:
    text = f"{score['value']:.3f} {score['unit']}".strip()
    # NaN, where there is no interval, equals nothing.
    return text + (f" ({score['low']:.3f} to {score['high']:.3f})" if score["low"] == score["low"] else "")
