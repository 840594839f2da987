# SPDX-License-Identifier: Apache-2.0
"""Compare architectures and weightings on one bundle."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ctan_networks.tools.comparison.compare import Comparison

__all__ = ["compare"]


def compare(
    bundle: str,
    dataset_dir: Any = None,
    output_dir: str | None = None,
    architectures: str | Sequence[str] = "stl,hps,mtan,ctan",
    weightings: str | Sequence[str] = "equal",
    seeds: int = 1,
    folds: int | None = None,
    max_steps: int | None = None,
    ablate: bool = False,
    jobs: int = 1,
    dry_run: bool = False,
    **overrides: Any,
) -> None:
    """Train what is missing, evaluate all on the same cases, and write one table: CSV, JSON and an HTML page.

    It can be stopped at any time and called again: finished runs are kept, an unfinished one goes on.

    Args:
        bundle: the bundle's folder.
        dataset_dir: as the bundle takes it; default: its phantoms.
        output_dir: where runs and tables go; default: ``comparison_phantom`` or ``comparison_patients`` in the bundle's
            folder ``runs``.
        architectures: separated by commas; "stl" is the baseline of Delta_MTL.
        weightings: of the tasks' losses, or gradient methods, separated by commas.
        seeds: number of seeds.
        folds: number of folds; each is once the cases that are evaluated.
        max_steps: training steps of every run; default: the epochs of the bundle's recipe.
        ablate: CTAN without the attention of its encoder, without that of its bottleneck, and without both, too.
        jobs: runs side by side.
        dry_run: only print the commands, one line a run, for a cluster's batch system.
        overrides: any other id of the bundle's configuration, for all runs, such as ``--batch_size 8``.

    """
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s - %(name)s - %(levelname)s - %(message)s", stream=sys.stderr
    )
    given = {key: value for key, value in {"dataset_dir": dataset_dir, **overrides}.items() if value is not None}
    folder = Path(bundle)
    comparison = Comparison(
        folder,
        Path(output_dir) if output_dir else None,
        given,
        _names(architectures),
        _names(weightings),
        seeds,
        folds,
        ablate,
        max_steps,
        dry_run,
    )
    if dry_run:
        for job in comparison.jobs:
            print(job.shell())
        return
    result = comparison.run(jobs)
    print(result["paragraph"])


def _names(given: str | Sequence[str]) -> list[str]:
    return [name.strip() for name in (given.split(",") if isinstance(given, str) else given)]
