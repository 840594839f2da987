# SPDX-License-Identifier: Apache-2.0
"""Put the weights of a finished training where MONAI Label's server looks for them."""

from __future__ import annotations

import logging
import os
import shutil
from datetime import datetime, timezone
from pathlib import Path

from ignite.engine import Engine, Events

from ctan_networks.processes import rank
from ctan_networks.utils import atomic_path

__all__ = ["PublishWeights"]

logger = logging.getLogger(__name__)


class PublishWeights:
    """When a training ends, copy its best weights to ``models/`` and keep those that were there.

    MONAI Label reads ``models/model.pt`` of a bundle and offers every other ``*.pt`` in that folder as a model of its
    own, so that the earlier weights move to another folder, as ``model_<UTC time>.pt``. The file in ``models/`` is
    written beside its place and renamed: a server that reads it gets the one or the other. ``model.json``, which says
    what weights are, goes with each.

    Attach it behind what writes the weights.

    Args:
        source: the run's ``model.pt``.
        target: where they go.
        backup_dir: folder for the earlier ones.
        enabled: False: do nothing.

    """

    def __init__(
        self, source: str | os.PathLike, target: str | os.PathLike, backup_dir: str | os.PathLike, enabled: bool = True
    ) -> None:
        self.source = Path(source)
        self.target = Path(target)
        self.backup_dir = Path(backup_dir)
        self.enabled = enabled

    def attach(self, engine: Engine) -> None:
        if self.enabled:
            engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        if rank() > 0:
            return
        if not self.source.is_file():
            logger.warning("no weights were written to %s; %s stays as it is.", self.source, self.target)
            return
        if self.target.is_file():
            kept = self.backup_dir / f"{self.target.stem}_{datetime.now(timezone.utc):%Y%m%dT%H%M%S%f}.pt"
            _copy(self.target, kept)
            logger.info("the earlier weights are kept as %s.", kept)
        _copy(self.source, self.target)
        logger.info("weights published as %s.", self.target)


def _copy(source: Path, target: Path) -> None:
    """Copy weights and what describes them; the weights last, since they are what a reader waits for."""
    described = target.with_suffix(".json")
    if source.with_suffix(".json").is_file():
        with atomic_path(described) as path:
            shutil.copyfile(source.with_suffix(".json"), path)
    else:
        described.unlink(missing_ok=True)
    with atomic_path(target, durable=True) as path:
        shutil.copyfile(source, path)
