# SPDX-License-Identifier: Apache-2.0
"""What the Model Zoo's unit tests do with a bundle: train, evaluate and infer on random data, in one epoch."""

from __future__ import annotations

import shutil
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigWorkflow

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"


def check_workflow(workflow: ConfigWorkflow) -> None:
    """Run a workflow as the zoo's ``ci/unit_tests/utils.py`` does: its properties must all be there."""
    workflow.initialize()
    wrong = workflow.check_properties()
    if wrong:
        raise AssertionError(f"missing or wrong properties: {wrong}")
    workflow.run()
    workflow.finalize()


class BundleCase(unittest.TestCase):
    """One bundle; subclasses say which, on what data, and how small.

    Attributes:
        name: the bundle's folder.
        override: settings of every workflow.
        training: settings of training and evaluation.
        results: glob patterns of what inference must write, below the output folder.
    """

    name: str
    override: dict[str, Any] = {}  # noqa: RUF012  as in the zoo
    training: dict[str, Any] = {}  # noqa: RUF012
    results: tuple[str, ...] = ()

    def make_data(self, folder: Path) -> str:
        """Write random data and return ``dataset_dir``."""
        raise NotImplementedError

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.root = BUNDLES / self.name
        self.dataset = self.make_data(self.folder / "data")
        sys.path.insert(0, str(self.root))
        self.addCleanup(sys.path.remove, str(self.root))

    def workflow(self, files: list[str], kind: str, **more: Any) -> ConfigWorkflow:
        configs = self.root / "configs"
        given = {"bundle_root": str(self.root), "dataset_dir": self.dataset} | self.override | more
        return ConfigWorkflow(
            workflow_type=kind,
            config_file=[str(configs / f"{name}.json") for name in files],
            logging_file=str(configs / "logging.conf"),
            meta_file=str(configs / "metadata.json"),
            **given,
        )

    def run_all(self) -> None:
        run = self.folder / "run"
        places = {"output_dir": str(run), "cache_dir": str(self.folder / "cache"), "num_workers": 0}
        quick = places | {"epochs": 1, "val_interval": 1} | self.training
        check_workflow(self.workflow(["train"], "train", **quick))
        weights = torch.load(run / "model.pt", weights_only=True)
        self.assertTrue(weights and all(value.device.type == "cpu" for value in weights.values()))
        check_workflow(self.workflow(["train", "evaluate"], "train", **quick))
        self.assertTrue((run / "evaluation_validation" / "report.html").is_file())
        results = self.folder / "results"
        written = {"output_dir": str(results), "checkpoint": str(run / "model.pt")}
        check_workflow(self.workflow(["inference"], "infer", **written))
        for pattern in self.results:
            self.assertTrue(list(results.glob(pattern)), f"inference wrote no {pattern}")
