# SPDX-License-Identifier: Apache-2.0
"""Which trainings a comparison is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ctan_networks.errors import ConfigError
from ctan_networks.losses import WEIGHTINGS
from ctan_networks.nets import ARCHITECTURES

__all__ = ["ABLATIONS", "Run", "plan_runs"]

# What is taken out of CTAN, and the overrides that do it.
ABLATIONS: dict[str, dict[str, Any]] = {
    "no encoder attention": {"network_def#attention_encoder": False},
    "no bottleneck attention": {"network_def#attention_bottleneck": False},
    "no attention": {"network_def#attention_encoder": False, "network_def#attention_bottleneck": False},
}
BASELINE = "stl"


@dataclass(frozen=True)
class Run:
    """One training and its evaluation.

    Attributes:
        architecture: as ``--architecture``.
        task: the one task of a single-task network; None: all.
        weighting: as ``--weighting``; None for a single task, which has nothing to weigh.
        seed: as ``--seed``.
        fold: number of the fold, from 0; None: the parts that the bundle has.
        ablation: a name in ``ABLATIONS``, or empty.
    """

    architecture: str
    task: str | None
    weighting: str | None
    seed: int
    fold: int | None = None
    ablation: str = ""

    @property
    def method(self) -> str:
        """What the table calls it. The single-task networks of all tasks together are one method."""
        if self.architecture == BASELINE:
            return "STL"
        name = self.architecture.upper() + (f" ({self.ablation})" if self.ablation else "")
        return f"{name}, {self.weighting}"

    @property
    def name(self) -> str:
        """Name of its folder."""
        parts = [self.architecture, self.task, self.ablation.replace(" ", "-"), self.weighting, f"seed{self.seed}"]
        parts += [] if self.fold is None else [f"fold{self.fold}"]
        return "_".join(part for part in parts if part)

    def overrides(self) -> dict[str, Any]:
        """The ids of the bundle's configuration that make this run."""
        made: dict[str, Any] = {"architecture": self.architecture, "seed": self.seed}
        if self.task is not None:
            made["task"] = self.task
        if self.weighting is not None:
            made["weighting"] = self.weighting
        if self.fold is not None:
            made["fold"] = self.fold
        return made | ABLATIONS.get(self.ablation, {})


def plan_runs(
    tasks: Sequence[str],
    architectures: Sequence[str],
    weightings: Sequence[str],
    seeds: int,
    folds: int | None = None,
    ablate: bool = False,
) -> list[Run]:
    """Every run of a comparison, seeds (and folds) outermost, so that an unfinished one already compares.

    Args:
        tasks: the bundle's tasks.
        architectures: of ``ctan_networks.nets.ARCHITECTURES``. Single-task networks are trained once a task and seed.
        weightings: of ``ctan_networks.losses.WEIGHTINGS``, for the others.
        seeds: number of seeds, from 0.
        folds: number of folds; None: none.
        ablate: CTAN without the attention of its encoder, without that of its bottleneck, and without both, too.

    Raises:
        ConfigError: when an architecture or weighting does not exist, or there is nothing to run.

    """
    for given, known, what in ((architectures, ARCHITECTURES, "architecture"), (weightings, WEIGHTINGS, "weighting")):
        strangers = [name for name in given if name not in known]
        if strangers:
            raise ConfigError(f"no {what} {', '.join(strangers)}: there are {', '.join(known)}.")
    if seeds < 1 or not architectures or not weightings or (folds is not None and folds < 2):
        raise ConfigError("give at least one architecture, one weighting and one seed, and no or at least two folds.")
    runs = []
    for fold in range(folds) if folds else [None]:
        for seed in range(seeds):
            for architecture in architectures:
                if architecture == BASELINE:
                    runs += [Run(architecture, task, None, seed, fold) for task in tasks]
                    continue
                parts = ["", *(ABLATIONS if ablate and architecture == "ctan" else [])]
                runs += [Run(architecture, None, w, seed, fold, part) for w in weightings for part in parts]
    return runs
