# SPDX-License-Identifier: Apache-2.0
"""Write a whole bundle: configurations, words, a test and phantoms."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ctan_networks.datasets.table.phantoms import task_cohort
from ctan_networks.errors import ConfigError
from ctan_networks.tools.authoring.json_text import json_text
from ctan_networks.tools.authoring.metadata import metadata
from ctan_networks.tools.authoring.multi_gpu import multi_gpu_evaluate, multi_gpu_train
from ctan_networks.tools.authoring.other_configs import evaluate_config, inference_config
from ctan_networks.tools.authoring.plan import Plan
from ctan_networks.tools.authoring.texts import DATA_LICENSE, LICENSE, LOGGING, readme
from ctan_networks.tools.authoring.train_config import train_config
from ctan_networks.tools.authoring.unit_test import unit_test

__all__ = ["write_bundle"]


def write_bundle(plan: Plan, folder: str | os.PathLike) -> Path:
    """Write a bundle, whole or not at all, with its phantoms.

    Args:
        plan: what is asked for.
        folder: the bundle's folder; it must not be there.

    Returns:
        the folder, absolute.

    Raises:
        ConfigError: when the folder is there.

    """
    target = Path(os.path.abspath(Path(folder).expanduser()))
    if target.exists():
        raise ConfigError(f"{target} is there already and is not overwritten: choose another name, or remove it first.")
    target.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "LICENSE": LICENSE,
        ".gitignore": "cache/\neval/\nphantom/\nruns/\n",
        "configs/metadata.json": json_text(metadata(plan)),
        "configs/train.json": json_text(train_config(plan)),
        "configs/evaluate.json": json_text(evaluate_config(plan)),
        "configs/inference.json": json_text(inference_config(plan)),
        "configs/multi_gpu_train.json": json_text(multi_gpu_train()),
        "configs/multi_gpu_evaluate.json": json_text(multi_gpu_evaluate()),
        "configs/logging.conf": LOGGING,
        "docs/README.md": readme(plan),
        "docs/data_license.txt": DATA_LICENSE,
        f"tests/test_{plan.name}.py": unit_test(plan),
    }
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".writing-") as workplace:
        new = Path(workplace) / plan.name
        for name, text in content.items():
            file = new / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        (new / "models").mkdir()
        task_cohort(new / "phantom", plan.task_list, plan.spatial_dims, plan.in_channels, plan.classes)
        # A temporary folder is private; the bundle is like any other.
        try:
            os.rename(new, target)
        except OSError as error:
            raise ConfigError(f"{target} cannot be written ({error}): choose another --output_dir.") from error
    return target
