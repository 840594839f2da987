# SPDX-License-Identifier: Apache-2.0
"""A phantom cohort on disk: there whole or not at all, and never over anything but phantoms."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ctan_networks.data.phantom_marker import mark_phantom, read_marker
from ctan_networks.errors import DataError

__all__ = ["write_cohort"]


def write_cohort(target: Path, details: Mapping[str, Any], files: Iterable[str], write: Callable[[Path], None]) -> None:
    """Write a cohort unless it is there already, made with the same details.

    Args:
        target: its folder.
        details: what it is made from; they stand in the marker.
        files: files or folders inside the folder, of which each must be there.
        write: writes it to the empty folder that it is called with.

    Raises:
        DataError: when the folder is there and holds no phantoms.

    """
    files = list(files)

    def complete() -> bool:
        return read_marker(target) == details and all((target / file).exists() for file in files)

    if complete():
        return
    if target.exists() and read_marker(target) is None:
        raise DataError(f"{target} holds data that are no phantoms: not overwritten. Give another folder.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".writing-") as workplace:
        new = Path(workplace) / target.name
        new.mkdir()
        write(new)
        mark_phantom(new, details)
        # Another process may have written the same cohort in the meantime, or be reading it.
        if complete():
            return
        old = Path(workplace) / "old"
        try:
            if target.exists():
                os.replace(target, old)
            os.replace(new, target)
        except OSError:
            if not complete():
                raise
        shutil.rmtree(old, ignore_errors=True)
