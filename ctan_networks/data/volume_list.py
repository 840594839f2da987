# SPDX-License-Identifier: Apache-2.0
"""Data lists of volumes to predict on, in whatever folders they lie."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from ctan_networks.data.case_reader import ct_slices
from ctan_networks.data.pseudonyms import case_of_folder, tell_renamed, without_folder_name
from ctan_networks.errors import DataError
from ctan_networks.reading import list_folder
from ctan_networks.utils import file_name

__all__ = ["volume_list"]

logger = logging.getLogger(__name__)

VOLUMES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd")
# Where the STOIC2021 data set keeps its volumes.
STOIC_VOLUMES = Path("data", "mha")

Items = list[dict[str, str]]


def volume_list(dataset_dir: str | os.PathLike) -> Items:
    """List the volumes to predict on. Labels are neither needed nor looked at.

    Args:
        dataset_dir: one of

            - one volume (NIfTI, MHA, MHD, NRRD), or one folder with the slices of a DICOM CT series;
            - a folder of volumes, of such series (each in its own folder), or of both;
            - the published STOIC2021 folder (it holds ``data/mha``), or the folder that holds it.

    Returns:
        One item a case, in natural order, with "case" (name of the file without its suffix, or of the folder, or a
        pseudonym where the folder is named after the patient) and the absolute path "image".

    Raises:
        DataError: when nothing to predict on is there, or when two cases have the same name.

    """
    path = existing_path(dataset_dir, "to predict on")
    items = as_volume(path)
    if not items and path.is_dir():
        root = stoic_root(path)
        items = cases_inside(path if root is None else root / STOIC_VOLUMES, as_volume)
    if not items:
        raise DataError(
            f"{path} holds nothing to predict on. Give a volume ({', '.join(VOLUMES)}), a folder with the slices of one"
            " DICOM CT series, or a folder of such volumes or series."
        )
    tell_renamed(items)
    refuse_same_names(items, "Rename one, or give one of the two folders")
    return items


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


def stoic_root(path: Path) -> Path | None:
    """The folder of the STOIC2021 data set: the path itself or one folder in it; None when there is none.

    Raises:
        DataError: when several folders in it are one.

    """
    if (path / STOIC_VOLUMES).is_dir():
        return path
    roots = [p for p in visible(path) if (p / STOIC_VOLUMES).is_dir()] if path.is_dir() else []
    if len(roots) > 1:
        raise DataError(f"{path} holds {len(roots)} STOIC folders: {', '.join(p.name for p in roots)}. Give one.")
    return roots[0] if roots else None


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


def as_volume(path: Path) -> Items:
    """The path itself as the only case (a volume, a folder with a DICOM CT series), or an empty list."""
    if path.is_dir():
        return [{"case": case_of_folder(path), "image": str(path)}] if next(ct_slices(path), None) else []
    suffix = next((s for s in VOLUMES if path.name.lower().endswith(s)), None)
    return [{"case": path.name[: -len(suffix)], "image": str(path)}] if suffix and path.is_file() else []


def cases_inside(folder: Path, as_case: Callable[[Path], Items]) -> Items:
    """The entries of a folder that are cases; the others are named in the log, if there are cases."""
    items, passed_over = [], []
    for entry in visible(folder):
        found = as_case(entry)
        items.extend(found)
        if not found:
            passed_over.append(entry.name)
    if items and passed_over:
        logger.warning("%s: no CT, passed over: %s", folder, ", ".join(passed_over))
    return items


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
