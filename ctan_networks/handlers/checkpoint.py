# SPDX-License-Identifier: Apache-2.0
"""Keep the best and the last state of a training, whole or not at all."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.handlers.checkpoint_files import (
    load_checkpoint,
    previous_of,
    restore,
    save_checkpoint,
    save_text,
)
from ctan_networks.handlers.run_lock import lock_run
from ctan_networks.processes import gather_in_turn, rank
from ctan_networks.utils import remove_leftovers

__all__ = ["BEST", "LAST", "TrainingCheckpoint"]

logger = logging.getLogger(__name__)

BEST, LAST = "model.pt", "last.pt"
# What last.pt of the training before is called until a new one has ended.
EARLIER = "last_earlier.pt"
WRITTEN = (BEST, LAST, previous_of(Path(LAST)).name, "model.json", "history.csv")
# Settings of a run that a resume cannot change.
FIXED = ("phantom", "architecture", "encoder", "tasks", "weighting")

# Seconds after which a half-written file is nobody's any more, where no lock tells.
LEFT_OVER = 3600.0


class TrainingCheckpoint:
    """Write ``model.pt`` (best weights), ``model.json`` (what they are) and ``last.pt`` (all a resume needs).

    ``model.pt`` is a flat state dict on the CPU, as Model Zoo and MONAI Label want it. ``last.pt`` is written at the
    end of each epoch, after validation, and holds only tensors and plain values (``weights_only=True`` reads it). Both
    are written beside their place, read back and renamed; weights that are not finite are not written. The last.pt of
    the epoch before stays as ``last_previous.pt``: a resume takes it where last.pt is damaged. An epoch that was cut
    off is run again from its start. A resume takes learning rate, weight decay and the length of a
    ``LambdaLR`` schedule from the command line, all else from the checkpoint.

    A training that starts anew in a folder sets last.pt of the one before aside, so that a resume of the new one does
    not go on from it, and removes it at its own end.

    While it trains, no other process can train into the same folder; evaluation may read it.

    Of several processes the first writes and every one resumes; a checkpoint of any number of processes resumes in any
    other, as long as ``objects`` holds no DistributedDataParallel.

    Attach it behind the handlers that change what it saves (learning rate, weighting, validation).

    Args:
        output_dir: folder of the run.
        objects: name to anything with ``state_dict`` and ``load_state_dict`` that a resume needs.
        model: the network whose weights are kept as the best.
        evaluator: validation engine with a key metric; higher is better.
        details: what the run is: plain values for ``model.json``. With ``phantom`` true, weights trained on patients
            are never overwritten.
        resume: go on from ``last.pt`` when it is there.
        keep: what ``model.pt`` holds after a validation: "best", the weights with the highest key metric so far, or
            "last", those validated last, so that the validation cases choose nothing.

    Raises:
        ConfigError: when the folder holds a run of another kind, another process trains there, no checkpoint in it can
            be read, or ``keep`` is neither of the two.
        DataError: when a file cannot be written, or the weights are not finite at the end of an epoch.

    """

    def __init__(
        self,
        output_dir: str | os.PathLike,
        objects: Mapping[str, Any],
        model: nn.Module,
        evaluator: Engine,
        details: Mapping[str, Any],
        resume: bool = False,
        keep: str = "best",
    ) -> None:
        if keep not in ("best", "last"):
            raise ConfigError(f"keep must be 'best' or 'last', got {keep!r}.")
        self.folder = Path(output_dir)
        self.objects = dict(objects)
        self.model = model
        self.evaluator = evaluator
        self.details = dict(details)
        self.resume = resume
        self.keep = keep
        self.best = -math.inf
        self.best_epoch = 0
        self.epoch = 0
        self.lock: Any = None

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.COMPLETED, self.forget_earlier)
        engine.add_event_handler(Events.COMPLETED | Events.TERMINATE, self.unlock)
        engine.add_event_handler(Events.EPOCH_STARTED, self.note_epoch)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save_last)
        self.evaluator.add_event_handler(Events.COMPLETED, self.save_best)

    def note_epoch(self, engine: Engine) -> None:
        self.epoch = engine.state.epoch

    def start(self, engine: Engine) -> None:
        """Check that the folder is this run's, and resume if asked to."""
        self.reserve()
        described = self.folder / "model.json"
        if described.is_file():
            try:
                earlier = dict(json.loads(described.read_text(encoding="utf-8")))
            except (OSError, ValueError, TypeError) as error:
                raise ConfigError(
                    f"{described} cannot be read ({error}), so that nobody knows what the weights beside it are. Remove"
                    " it, or give another --output_dir."
                ) from error
            if self.details.get("phantom") and not earlier.get("phantom", True):
                raise ConfigError(
                    f"{self.folder} holds weights trained on patients; a training on phantoms does not overwrite them."
                    " Give another --output_dir."
                )
        last = self.folder / LAST
        if not self.resume:
            self._set_aside(last)
            return
        loaded = load_checkpoint(last)
        found = gather_in_turn([None if loaded is None else loaded[1].name])
        if len(set(found)) > 1:
            raise ConfigError(
                f"cannot resume: the {len(found)} processes do not find the same checkpoint in {self.folder} (they find"
                f" {', '.join(str(name) for name in found)}); all machines need the same --output_dir."
            )
        if loaded is None:
            logger.info("nothing to resume: %s is not there; training starts at epoch 1.", last)
            if (self.folder / EARLIER).is_file():
                logger.warning("%s is of the training before this one.", self.folder / EARLIER)
            return
        state, found_in = loaded
        for key in FIXED:
            if key in self.details and state["details"].get(key, self.details[key]) != self.details[key]:
                raise ConfigError(
                    f"cannot resume {last}: it was trained with {key} {state['details'].get(key)!r}, this run has"
                    f" {self.details[key]!r}. Give the same, or another --output_dir."
                )
        others = [
            f"{key} {state['details'].get(key)!r}, now {value!r}"
            for key, value in self.details.items()
            if key not in FIXED and state["details"].get(key) != value
        ]
        if others:
            logger.warning("%s goes on with other settings than it began with: %s.", last, "; ".join(others))
        name = ""
        try:
            for name, thing in self.objects.items():
                restore(thing, state["objects"][name])
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise ConfigError(
                f"cannot resume {last}: its {name} does not fit this run's ({' '.join(str(error).split())[:300]}). Give"
                " the settings that it was trained with, or another --output_dir."
            ) from error
        if found_in != last and rank() == 0:
            # The damaged last.pt would become last_previous.pt, in its place, a moment before the next one is there.
            os.replace(found_in, last)
        scaler = getattr(engine, "scaler", None)
        if scaler is not None and state.get("scaler"):
            scaler.load_state_dict(state["scaler"])
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self.evaluator.state.best_metric = self.best  # type: ignore[attr-defined]
        self.evaluator.state.best_metric_epoch = self.best_epoch  # type: ignore[attr-defined]
        engine.state.epoch = state["epoch"]
        engine.state.iteration = state["iteration"]
        logger.info(
            "resumed %s after epoch %d (best %.4f in epoch %d).", last, state["epoch"], self.best, self.best_epoch
        )

    def _set_aside(self, last: Path) -> None:
        if rank() > 0:
            return
        for file in (previous_of(last), last):
            # Where last.pt is there, it is the one that stays.
            if file.is_file():
                os.replace(file, self.folder / EARLIER)
                logger.warning(
                    "a training starts anew in %s: %s of the one before is called %s until this one has ended. To go on"
                    " with that one, stop now, rename it to %s and give --resume True.",
                    *(self.folder, file.name, EARLIER, last.name),
                )

    def forget_earlier(self, engine: Engine) -> None:
        if rank() == 0:
            (self.folder / EARLIER).unlink(missing_ok=True)

    def reserve(self) -> None:
        """Lock the folder, and remove what a killed run left half written in it."""
        refusal = ""
        if rank() == 0:
            try:
                self.lock = lock_run(self.folder)
            except ConfigError as error:
                refusal = str(error)
            else:
                for name in WRITTEN:
                    remove_leftovers(self.folder, name, age=0.0 if self.lock is not None else LEFT_OVER)
                # Written before the folder is locked, by an evaluation too.
                remove_leftovers(self.folder, "split.csv", age=LEFT_OVER)
        # The others would wait for the first one for ever.
        refusals = [text for text in gather_in_turn([refusal]) if text]
        if refusals:
            raise ConfigError(refusals[0])

    def unlock(self, engine: Engine) -> None:
        if self.lock is not None:
            # A training in this process that raised may have held it before.
            self.lock.release(force=True)
            self.lock = None

    def save_best(self, evaluator: Engine) -> None:
        """After a validation: keep the weights if the key metric is the best so far, or if the last are asked for."""
        name = evaluator.state.key_metric_name  # type: ignore[attr-defined]
        score = float(evaluator.state.metrics.get(name, math.nan))
        # `not <=` so that the very first score counts even when it is not a number: a run must leave weights.
        if self.keep == "best" and self.best_epoch and not score > self.best:
            return
        weights = {key: value.detach().cpu().contiguous() for key, value in self.model.state_dict().items()}
        if _not_finite(weights):
            logger.error("epoch %d: weights that are not finite are not kept as %s.", self.epoch, BEST)
            return
        self.best, self.best_epoch = (score if not math.isnan(score) else -math.inf), self.epoch
        if rank() > 0:
            return
        self._forget_other_weights()
        save_checkpoint(weights, self.folder / BEST)
        metrics = {k: v for k, v in evaluator.state.metrics.items() if isinstance(v, int | float) and math.isfinite(v)}
        described = self.details | {"epoch": self.epoch, "metrics": metrics}
        save_text(json.dumps(described, indent=4, default=str) + "\n", self.folder / "model.json")
        logger.info("%s: %s %.4f in epoch %d, kept as %s.", self.keep, name, score, self.epoch, self.folder / BEST)

    def _forget_other_weights(self) -> None:
        """Without the description of another run's weights, those of this run are never taken for them."""
        described = self.folder / "model.json"
        try:
            earlier = json.loads(described.read_text(encoding="utf-8"))
            own = json.loads(json.dumps(self.details, default=str))
            if any(earlier.get(key) != value for key, value in own.items()):
                described.unlink()
        except (AttributeError, OSError, ValueError):
            described.unlink(missing_ok=True)

    def save_last(self, engine: Engine) -> None:
        """At the end of an epoch: keep all that a resume needs."""
        # What is trained (of the loss too), and of the weights that are kept the running statistics as well.
        modules = [thing for thing in self.objects.values() if isinstance(thing, nn.Module)]
        broken = _not_finite(self.model.state_dict())
        for module in modules:
            broken = broken or _not_finite(dict(module.named_parameters()))
        if broken:
            raise DataError(
                f"epoch {engine.state.epoch}: the weights are not finite ({broken}) and are not kept; {LAST} holds"
                " those of the epoch before. Go on from it with --resume True and a smaller --learning_rate."
            )
        if rank() > 0:
            return
        scaler = getattr(engine, "scaler", None)
        state = {
            "objects": {name: thing.state_dict() for name, thing in self.objects.items()},
            "scaler": scaler.state_dict() if scaler is not None else {},
            "epoch": engine.state.epoch,
            "iteration": engine.state.iteration,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "details": self.details,
        }
        save_checkpoint(state, self.folder / LAST, keep_previous=True)


def _not_finite(weights: Mapping[str, torch.Tensor]) -> str:
    """Name of the first tensor with a value that is not finite; empty when there is none."""
    return next(
        (name for name, value in weights.items() if value.is_floating_point() and not bool(value.isfinite().all())), ""
    )
