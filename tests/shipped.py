# SPDX-License-Identifier: Apache-2.0
"""Bundles as they are shipped, without what runs and exports have left in their folders."""

from __future__ import annotations

import shutil
from pathlib import Path

PARTS = ("LICENSE", "large_files.yml", "configs/**/*", "docs/**/*", "models/**/model.pt", "models/**/model.json")


def copy_shipped(bundles: Path, target: Path) -> Path:
    """Copy the bundles of a checkout, as far as they are shipped, and return the copy."""
    for bundle in sorted(place for place in bundles.iterdir() if (place / "configs").is_dir()):
        for file in (file for part in PARTS for file in bundle.glob(part) if file.is_file()):
            copy = target / file.relative_to(bundles)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)
    return target
