# SPDX-License-Identifier: Apache-2.0
"""The marker by which a phantom cohort is known for what it is, wherever it is copied to."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ctan_networks.utils import atomic_path

__all__ = ["MARKER", "is_phantom", "mark_phantom", "read_marker"]

MARKER = "PHANTOM.json"
LEVELS = 5
NOTE = "Synthetic data made by ctan_networks. No patient. Results on them say nothing about patients."


def mark_phantom(folder: str | os.PathLike, details: Mapping[str, Any]) -> None:
    """Mark a folder and what lies in it as phantoms.

    Args:
        folder: the cohort's root.
        details: what the cohort was made from; plain values that JSON holds.

    """
    with atomic_path(Path(folder) / MARKER) as temporary:
        temporary.write_text(json.dumps({"phantom": True, "note": NOTE, **details}, indent=2) + "\n", encoding="utf-8")


def read_marker(folder: str | os.PathLike) -> dict[str, Any] | None:
    """The details of a folder's marker; None when it has none."""
    try:
        content = json.loads((Path(folder) / MARKER).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        # A damaged marker still marks: better a patient called a phantom than the other way round.
        return {}
    return {key: value for key, value in content.items() if key not in ("phantom", "note")}


def is_phantom(items: Iterable[Mapping[str, Any]]) -> bool:
    """Tell from the items of a data list whether they are phantoms.

    Args:
        items: dictionaries whose values may be paths, or lists of paths.

    Returns:
        True when the folder of any path, or one of the folders above it (five levels in all), holds the marker. One
        phantom among patients makes the whole list one.

    """
    folders: set[Path] = set()
    for item in items:
        for value in item.values():
            for name in value if isinstance(value, list | tuple) else [value]:
                # A bare word, such as a case's name, is no path.
                if isinstance(name, os.PathLike) or (isinstance(name, str) and (os.sep in name or "/" in name)):
                    path = Path(os.path.abspath(name))
                    folders.update((path, *path.parents[:LEVELS]))
    return any((folder / MARKER).is_file() for folder in folders)
