# SPDX-License-Identifier: Apache-2.0
"""What lists of cases have in common: their folder, their order and their names."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from ctan_networks.data.pseudonyms import without_folder_name
from ctan_networks.errors import DataError
from ctan_networks.reading import list_folder
from ctan_networks.utils import file_name

__all__ = ["Items", "existing_path", "natural_key", "refuse_same_names", "visible"]

Items = list[dict[str, str]]


def existing_path(path: str | os.PathLike, what: str) -> Path:
    """The absolute path, or a DataError."""
    try:
        absolute = Path(os.path.abspath(Path(path).expanduser()))
        there = absolute.exists()
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(f"the folder {what} cannot be used: {os.fspath(path)!r} ({error}). Check the path.") from error
    if not there:
        raise DataError(f"the folder {what} is not there: {absolute} (given: {os.fspath(path)!r}). Check the path.")
    return absolute


def natural_key(name: str) -> list[str | tuple[int, str]]:
    """Key to sort names by the numbers in them: pt_2 before pt_10."""
    # Text and numbers take turns, so that one is never compared with the other. A number is compared by its digits:
    # Python makes no int of thousands of them.
    parts = enumerate(re.split(r"([0-9]+)", name))
    return [(len(t.lstrip("0")), t.lstrip("0")) if k % 2 else t for k, t in parts]


def visible(folder: Path) -> list[Path]:
    """Entries of a folder in natural order, without hidden ones.

    Raises:
        DataError: when it cannot be listed.

    """
    return sorted((p for p in list_folder(folder) if not p.name.startswith(".")), key=lambda p: natural_key(p.name))


def refuse_same_names(items: Sequence[dict[str, str]], advice: str) -> None:
    """Results are filed under the name of the case, as far as its letters fit into the name of a file.

    Raises:
        DataError: when two cases have the same name.

    """
    first: dict[str, str] = {}
    for item in items:
        name = file_name(item["case"])
        if name in first:
            raise DataError(
                f"two cases are called {name}: {first[name]} and {without_folder_name(item['image'], item)}. {advice}:"
                " results are filed under the name."
            )
        first[name] = without_folder_name(item["image"], item)
