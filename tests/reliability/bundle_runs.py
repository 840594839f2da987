# SPDX-License-Identifier: Apache-2.0
"""Commands of bundles in processes of their own, and weights for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

__all__ = ["ROOT", "bundle_run", "run", "trained"]

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"network_def#channels": "[16,16,16]"}


def run(*arguments: object, code: int = 0) -> bytes:
    """``python -m`` in a process of its own; all that it prints."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == code, done.stderr.decode()[-3000:]
    return done.stdout + done.stderr


def bundle_run(configs: list[str], bundle: str | Path, **options: Any) -> bytes:
    """``monai.bundle run`` of a bundle of the project, or in a folder."""
    folder = bundle if isinstance(bundle, Path) else ROOT / "bundles" / bundle
    files = str([str(folder / "configs" / f"{name}.json") for name in configs])
    given = [text for key, value in (SMALL | options).items() for text in (f"--{key}", str(value))]
    return run("monai.bundle", "run", "--config_file", files, *given)


def trained(folder: Path, bundle: str) -> str:
    """Weights of a small network that was never trained."""
    config = ConfigParser()
    config.read_config(str(ROOT / "bundles" / bundle / "configs" / "inference.json"))
    config.config["bundle_root"] = str(ROOT / "bundles" / bundle)
    config.config["network_def"]["channels"] = [16, 16, 16]
    config.parse()
    file = folder / f"{bundle}.pt"
    torch.save(config.get_parsed_content("network_def").state_dict(), file)
    return str(file)
