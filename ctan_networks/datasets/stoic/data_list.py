# SPDX-License-Identifier: Apache-2.0
"""STOIC2021: which chest CT is positive for COVID-19, and which patient fell severely ill."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ctan_networks.data.case_list import existing_path, natural_key, visible
from ctan_networks.data.metaimage import check_metaimage, read_metaimage_header
from ctan_networks.data.tables import read_table
from ctan_networks.errors import DataError

__all__ = ["stoic_folders", "stoic_list"]

# Where the STOIC2021 data set keeps its volumes.
STOIC_VOLUMES = Path("data", "mha")

logger = logging.getLogger(__name__)

REFERENCE = Path("metadata", "reference.csv")
CASE, COVID, SEVERE = COLUMNS = ("PatientID", "probCOVID", "probSevere")
LAYOUT = f"data/mha/<PatientID>.mha and metadata/reference.csv with the columns {', '.join(COLUMNS)}"
SEXES = {"M": "male", "F": "female"}
# DICOM's age string, such as 065Y: days, weeks, months, years.
AGE = re.compile(r"(\d{1,3})([DWMY]?)")
PER_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0, "": 1.0}
LISTED = 20

Item = dict[str, Any]


def stoic_list(dataset_dir: str | os.PathLike) -> list[Item]:
    """List the patients of STOIC2021 in the layout in which it is published.

    The layout is ``data/mha/<PatientID>.mha`` and ``metadata/reference.csv`` (PatientID, probCOVID, probSevere).
    Age and sex stand in the text header of the volume; pixel data is not read.

    Args:
        dataset_dir: the folder of the data set, or the folder that holds it.

    Returns:
        One item a patient, ordered by number: "case" (PatientID), "image" (path), "group" (the case), "covid" (0 or 1),
        "severity" (0 or 1; only where "covid" is 1), and where the header has them "sex" ("male", "female") and "age"
        (whole years, text). A patient that cannot be used (a label other than 0 and 1, severe without COVID-19, a row
        without volume or a volume without row, a file that is cut short) is an item with "case" and "unusable", the
        reason; and "image", where there is one. Such items are counted and named in the log.

    Raises:
        DataError: when a folder, the table or one of its columns is missing, or two rows of one patient contradict
            each other.

    """
    path = existing_path(dataset_dir, "of the data set")
    root = stoic_root(path)
    if root is None:
        raise DataError(f"{path} holds no {STOIC_VOLUMES}. The layout must be {LAYOUT}.")
    volumes = _volumes(root / STOIC_VOLUMES)
    rows = _rows(root / REFERENCE)
    items = [_item(case, rows.get(case), volumes.get(case)) for case in sorted({*volumes, *rows}, key=natural_key)]
    _warn("cases cannot be used", [f"{item['case']} ({item['unusable']})" for item in items if "unusable" in item])
    for key in ("age", "sex"):
        unknown = [item["case"] for item in items if "covid" in item and key not in item]
        _warn(f"cases have no {key} in the header of their volume (such as PatientAge = 065Y, PatientSex = M)", unknown)
    return items


def _volumes(folder: Path) -> dict[str, Path]:
    files = [file for file in visible(folder) if file.suffix.lower() == ".mha" and file.is_file()]
    if not files:
        raise DataError(f"{folder} holds no .mha. The layout must be {LAYOUT}.")
    volumes: dict[str, Path] = {}
    for file in files:
        if file.stem in volumes:
            raise DataError(f"two volumes of case {file.stem}: {volumes[file.stem]} and {file}. Take one out.")
        volumes[file.stem] = file
    return volumes


def _rows(file: Path) -> dict[str, dict[str, str]]:
    """Patient to its row."""
    table = read_table(file, f"The layout must be {LAYOUT}.")
    table.columns = table.columns.str.strip()
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise DataError(
            f"{file} has no column {' and '.join(missing)}; it has {', '.join(table.columns)}. The layout must be"
            f" {LAYOUT}."
        )
    table = table[list(COLUMNS)].apply(lambda column: column.str.strip())
    if (table[CASE] == "").any():
        lines = [str(k + 2) for k in table.index[table[CASE] == ""]]
        raise DataError(f"{file}: no {CASE} in line {', '.join(lines[:LISTED])}. Fill it in.")
    whole = table.drop_duplicates()
    contradicting = sorted(whole[CASE][whole[CASE].duplicated()].unique(), key=natural_key)
    if contradicting:
        raise DataError(f"{file}: rows contradict each other for {_some(contradicting)}. Keep the right one of each.")
    doubles = sorted(table[CASE][table.duplicated()].unique(), key=natural_key)
    _warn(f"cases have the same row more than once in {file}; they count once", doubles)
    return {row[CASE]: row for row in whole.to_dict("records")}


def _item(case: str, row: dict[str, str] | None, volume: Path | None) -> Item:
    item: Item = {"case": case}
    if volume is None:
        return item | {"unusable": f"a row in {REFERENCE} without {STOIC_VOLUMES / case}.mha"}
    item["image"] = str(volume)
    if row is None:
        return item | {"unusable": f"{volume.name} without a row in {REFERENCE}"}
    labels = {name: _label(row[name]) for name in (COVID, SEVERE)}
    wrong = [f"{name} is {row[name]!r}, not 0 or 1" for name, label in labels.items() if label is None]
    if not wrong and labels[SEVERE] and not labels[COVID]:
        wrong = [f"{SEVERE} is 1 where {COVID} is 0"]
    if wrong:
        return item | {"unusable": "; ".join(wrong)}
    try:
        header = read_metaimage_header(volume)
        check_metaimage(volume, header)
    except DataError as error:
        return item | {"unusable": str(error)}
    item |= {"group": case, "covid": labels[COVID]}
    if labels[COVID]:
        item["severity"] = labels[SEVERE]
    return item | _person(header)


def _label(text: str) -> int | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if value in (0.0, 1.0) else None


def _person(header: dict[str, str]) -> dict[str, str]:
    found = {}
    age = AGE.fullmatch(header.get("PatientAge", "").upper())
    if age:
        found["age"] = str(int(int(age[1]) / PER_YEAR[age[2]]))
    sex = SEXES.get(header.get("PatientSex", "").upper())
    if sex:
        found["sex"] = sex
    return found


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def _warn(what: str, names: Sequence[str]) -> None:
    if names:
        logger.warning("%d %s: %s", len(names), what, _some(names))


def stoic_folders(path: Path) -> list[Path]:
    """The folder of volumes in the published layout, as the only item; empty when it is another."""
    root = stoic_root(path)
    return [] if root is None else [root / STOIC_VOLUMES]


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
