# SPDX-License-Identifier: Apache-2.0
"""One comparison from beginning to end: plan, run what is missing, measure, and write down what it comes to."""

from __future__ import annotations

import json
import logging
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from monai.bundle import ConfigWorkflow

from ctan_networks.command_line import check_known, config_entries
from ctan_networks.errors import ConfigError, CTANError
from ctan_networks.reports.comparison import comparison_page
from ctan_networks.reports.scores import strict
from ctan_networks.tools.comparison.cost import measure_cost
from ctan_networks.tools.comparison.plan import Run, plan_runs
from ctan_networks.tools.comparison.results import Measured, check_compared, read_results
from ctan_networks.tools.comparison.runner import Job, execute, make_jobs
from ctan_networks.tools.comparison.statistics import check_same_cases, compare_methods, delta_table, score_rows
from ctan_networks.tools.comparison.words import paragraph
from ctan_networks.utils import atomic_path

__all__ = ["Comparison"]

logger = logging.getLogger(__name__)

# Epochs of a run with a budget of steps: enough for the weights of DWA to move.
EPOCHS = 20
BASELINE = "STL"


class Comparison:
    """Architectures and weightings on one bundle, with the same data, budget and seeds.

    Args:
        bundle: the bundle's folder. Its ``evaluate.json`` lists under "compared" the metrics of each task.
        output_dir: folder for runs and tables; None: ``runs/comparison_phantom`` or ``runs/comparison_patients`` of
            the bundle.
        overrides: ids of the configuration that all runs share, such as "dataset_dir".
        architectures: see :py:func:`ctan_networks.tools.comparison.plan.plan_runs`; so the next four.
        weightings: how the tasks' losses are weighed.
        seeds: number of seeds.
        folds: number of folds.
        ablate: ablations of CTAN.
        max_steps: training steps of every run; None: the epochs of the bundle's recipe.
        dry_run: write nothing into the output folder.

    Raises:
        ConfigError: when the bundle cannot be compared or an argument cannot be used.

    """

    def __init__(
        self,
        bundle: Path,
        output_dir: Path | None,
        overrides: Mapping[str, Any],
        architectures: Sequence[str],
        weightings: Sequence[str],
        seeds: int,
        folds: int | None = None,
        ablate: bool = False,
        max_steps: int | None = None,
        dry_run: bool = False,
    ) -> None:
        self.bundle = bundle
        self.overrides: dict[str, Any] = dict(overrides)
        configs = [str(bundle / "configs" / f"{name}.json") for name in ("train", "evaluate")]
        missing = [file for file in configs if not Path(file).is_file()]
        if missing:
            raise ConfigError(f"{bundle} cannot be compared: {' and '.join(missing)} is not there.")
        check_known(self.overrides, config_entries(configs), str(bundle))
        # No weights yet, from which evaluate.json would take what they were trained with.
        given = {"checkpoint": "", **self.overrides}
        workflow = ConfigWorkflow(configs, workflow_type="train", logging_file=False, **given)
        workflow.initialize()
        read = workflow.parser.get_parsed_content
        self.phantom = bool(read("phantom"))
        name = "comparison_phantom" if self.phantom else "comparison_patients"
        self.output_dir = output_dir if output_dir is not None else bundle / "runs" / name
        if "compared" not in workflow.parser:
            raise ConfigError(f'{configs[1]} has no "compared": list the metrics of each task there.')
        with tempfile.TemporaryDirectory() as workplace:
            # One list of parts for all runs, where the bundle draws parts.
            if "split_file" in workflow.parser:
                split_file = self.overrides.setdefault("split_file", str(self.output_dir / "split.csv"))
                # After a dry run the first run draws the same parts.
                kept = not dry_run or Path(split_file).exists()
                workflow.parser["split_file"] = split_file if kept else f"{workplace}/split.csv"
            if folds is not None:
                self.overrides["folds"] = folds
            self.compared: dict[str, list[str]] = read("compared")
            check_compared(self.compared, read("tasks"))
            self.overrides |= {"keep": "last", **self._budget(max_steps, read("epochs"))}
            data = [[_described(item) for item in read(f"{part}#dataset#data")] for part in ("train", "validate")]
        runs = plan_runs(list(read("tasks")), architectures, weightings, seeds, folds, ablate)
        self.jobs = make_jobs(runs, bundle, self.output_dir / "runs", self.overrides, data)

    @staticmethod
    def _budget(max_steps: int | None, epochs: int) -> dict[str, int]:
        """Epochs that end with a validation, whose weights are then those that are evaluated."""
        if max_steps is None:
            return {"epochs": epochs, "val_interval": epochs // 2 if epochs % 2 == 0 else epochs}
        if max_steps < 1:
            raise ConfigError(f"max_steps must be at least 1, got {max_steps}.")
        count = min(EPOCHS, max_steps)
        return {
            "epochs": count,
            "steps_per_epoch": math.ceil(max_steps / count),
            "val_interval": count // 2 if count % 2 == 0 else count,
        }

    def run(self, parallel: int = 1) -> dict[str, Any]:
        """Run what is missing, then write ``comparison.json``, ``comparison.csv``, ``tests.csv``, ``comparison.html``.

        Returns:
            what ``comparison.json`` holds.

        Raises:
            CTANError: when runs failed; those that did not are kept.

        """
        failures = execute(self.jobs, parallel)
        if failures:
            raise CTANError(f"{len(failures)} of {len(self.jobs)} runs failed; call again when mended. {failures[0]}")
        evaluations: dict[str, list[dict[tuple[str, str], Measured]]] = {}
        for (method, _), jobs in _by_method_and_seed(self.jobs).items():
            merged: dict[tuple[str, str], Measured] = {}
            for job in jobs:
                merged |= read_results(job.evaluation, self.compared)
            evaluations.setdefault(method, []).append(merged)
        check_same_cases(evaluations)
        result: dict[str, Any] = {
            "bundle": self.bundle.name,
            "phantom": self.phantom,
            "overrides": self.overrides,
            "identity": {k: v for k, v in self.jobs[0].identity.items() if k != "overrides"},
            "runs": len(self.jobs),
            "seeds": len({job.run.seed for job in self.jobs}),
            "folds": len({job.run.fold for job in self.jobs} - {None}),
            "scores": score_rows(evaluations),
            "delta_mtl": delta_table(evaluations, BASELINE),
            "tests": compare_methods(evaluations, _pairs(list(evaluations))),
            "cost": self._costs(),
        }
        result["paragraph"] = paragraph(result)
        self._write(result)
        return result

    def _costs(self) -> dict[str, dict[str, Any]]:
        """Cost of each network (a single task's by itself), measured once, with what is known from an earlier call."""
        file = self.output_dir / "cost.json"
        known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        networks: dict[str, Run] = {}
        for job in self.jobs:
            run = job.run
            networks.setdefault(f"STL {run.task}" if run.task else run.method.split(",")[0], run)
        shared = {k: v for k, v in self.overrides.items() if k not in ("epochs", "val_interval", "steps_per_epoch")}
        for name, run in networks.items():
            given = {**shared, **run.overrides(), "weighting": "equal"}
            measured = {"code": self.jobs[0].identity["code"], "overrides": {k: str(v) for k, v in given.items()}}
            if measured.items() <= known.get(name, {}).items():
                continue
            logger.info("measuring what %s costs", name)
            cost = measure_cost(self.bundle / "configs" / "train.json", given)
            known[name] = {**measured, **cost}
            with atomic_path(file) as path:
                path.write_text(json.dumps(known, indent=4) + "\n", encoding="utf-8")
        return {name: known[name] for name in networks}

    def _write(self, result: dict[str, Any]) -> None:
        with atomic_path(self.output_dir / "comparison.json") as path:
            path.write_text(json.dumps(strict(result), indent=4) + "\n", encoding="utf-8")
        scores = pd.DataFrame(result["scores"]).drop(columns="values")
        for name, table in (("comparison", scores), ("tests", pd.DataFrame(result["tests"]))):
            with atomic_path(self.output_dir / f"{name}.csv") as path:
                table.to_csv(path, index=False)
        histories = [(job.run.method, job.run.task, job.run.seed, job.folder / "history.csv") for job in self.jobs]
        with atomic_path(self.output_dir / "comparison.html") as path:
            path.write_text(comparison_page(result, histories), encoding="utf-8")
        logger.info("%s", result["paragraph"])
        logger.info("table: %s", self.output_dir / "comparison.html")


def _by_method_and_seed(jobs: Sequence[Job]) -> dict[tuple[str, Any], list[Job]]:
    found: dict[tuple[str, Any], list[Job]] = {}
    for job in jobs:
        found.setdefault((job.run.method, (job.run.fold, job.run.seed)), []).append(job)
    return found


def _pairs(methods: Sequence[str]) -> list[tuple[str, str]]:
    """Each method against STL, and CTAN against its peers with the same weighting."""
    pairs = [(m, BASELINE) for m in methods if m != BASELINE and BASELINE in methods]
    for method in methods:
        name, _, weighting = method.partition(", ")
        if name == "CTAN":
            peers = [m for m in methods if m not in (method, BASELINE) and m.endswith(f", {weighting}")]
            pairs += [(method, peer) for peer in peers]
    return pairs


def _described(item: Mapping[str, Any]) -> list[Any]:
    """A case by its values, and its files by their names and sizes, wherever they lie."""
    described: list[Any] = []
    for key in sorted(item):
        value = item[key]
        path = Path(value) if isinstance(value, str) and "/" in value else None
        if path is None:
            described.append([key, value])
        elif path.is_dir():
            described.append([key, path.name, sorted((p.name, p.stat().st_size) for p in path.iterdir())])
        else:
            described.append([key, path.name, path.stat().st_size if path.exists() else None])
    return described
