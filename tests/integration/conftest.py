# SPDX-License-Identifier: Apache-2.0
"""Bundles as their users run them: copies without weights or runs, so that tests never touch the real ones."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigWorkflow

ROOT = Path(__file__).resolve().parents[2]


class Bundle:
    """A bundle's folder, and its workflows with the settings that make them small.

    Attributes:
        small: overrides of every workflow, so that the network is small.
        quick: further overrides of training and evaluation.
    """

    def __init__(self, folder: Path, small: dict[str, Any], quick: dict[str, Any]) -> None:
        self.folder = folder
        self.small = small
        self.quick = {"epochs": 1, "val_interval": 1, "num_workers": 0} | quick

    def configs(self, *names: str) -> list[str]:
        return [str(self.folder / "configs" / f"{name}.json") for name in names]

    def workflow(self, names: tuple[str, ...], kind: str, **override: Any) -> ConfigWorkflow:
        made = ConfigWorkflow(self.configs(*names), workflow_type=kind, logging_file=False, **(self.small | override))
        made.initialize()
        return made

    def train(self, data: object, output: Path, **override: Any) -> Path:
        self.workflow(("train",), "train", **self._options(data, output, override)).run()
        return output

    def evaluate(self, data: object, output: Path, **override: Any) -> dict[str, Any]:
        self.workflow(("train", "evaluate"), "train", **self._options(data, output, override)).run()
        folder = Path(override.get("evaluation_dir", output / f"evaluation_{override.get('split', 'validation')}"))
        return json.loads((folder / "summary.json").read_text())

    def infer(self, data: object, trained: Path, output: Path, **override: Any) -> Path:
        options = {"dataset_dir": str(data), "output_dir": str(output), "checkpoint": str(trained / "model.pt")}
        self.workflow(("inference",), "infer", **(options | override)).run()
        return output

    def _options(self, data: object, output: Path, override: dict[str, Any]) -> dict[str, Any]:
        places = {"dataset_dir": str(data), "output_dir": str(output), "cache_dir": str(output.parent / "cache")}
        return self.quick | places | override


@pytest.fixture(scope="session")
def bundle_copy(bundles, tmp_path_factory) -> Callable[..., Bundle]:
    """Copy a bundle: ``bundle_copy(name, small, quick)``."""

    def copy(name: str, small: dict[str, Any], quick: dict[str, Any]) -> Bundle:
        folder = tmp_path_factory.mktemp("bundles") / name
        shutil.copytree(bundles / name, folder, ignore=shutil.ignore_patterns("*.pt"))
        return Bundle(folder, small, quick)

    return copy


@pytest.fixture(scope="session")
def command() -> Callable[..., subprocess.CompletedProcess]:
    """Run ``python -m monai.bundle`` with these arguments."""

    def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "monai.bundle", *arguments],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            cwd=cwd,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )

    return run
