# SPDX-License-Identifier: Apache-2.0
"""Cases and labels from a plain CSV, or from a JSON list in the form of the Medical Segmentation Decathlon."""

from __future__ import annotations

import csv
import difflib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ctan_networks.blocks.tasks import check_tasks
from ctan_networks.data.case_list import existing_path, refuse_same_names
from ctan_networks.data.photo_list import photo_list
from ctan_networks.data.tables import MAX_BYTES
from ctan_networks.datasets.inference_cases import inference_list
from ctan_networks.errors import DataError, refuse_unknown
from ctan_networks.reading import require_file
from ctan_networks.utils import name_of_image

__all__ = ["case_images", "case_table"]

LISTS = ("cases.csv", "dataset.json")
PARTS = ("train", "validation", "test")
# What the lists of a JSON file are called, and which part each is.
SECTIONS = {"training": "train", "train": "train", "validation": "validation", "test": "test"}
UNKNOWN = ("", "nan", "-1")
LISTED = 10
OPTIONAL = ("group", "split")
# Letters that two names have in common, when one is the other misspelt.
NEARLY = 0.8

Item = dict[str, Any]


class Row(NamedTuple):
    """One case as it stands in the list.

    Attributes:
        where: what a message calls it, such as "line 3".
        cells: column to value; a list of files, or other structures of JSON, stay what they are.
    """

    where: str
    cells: dict[str, Any]


def case_table(
    path: str | os.PathLike,
    tasks: Mapping[str, Mapping[str, Any]],
    classes: Mapping[str, Sequence[str]] | None = None,
) -> list[Item]:
    """Read a list of cases with their labels.

    A CSV (separated by commas, semicolons or tabs) has the columns ``case`` and ``image``, one column a task, and may
    have ``split`` (train, validation or test) and ``group`` (a patient with several images). A JSON file has lists
    ``training``, ``validation``, ``test`` of dictionaries with ``image``, the tasks, and perhaps ``case`` and
    ``group``; a single ``label`` is that of the only segmentation task, a bare path an image without labels. Paths are
    relative to the list. A dense task's cell is the path of its map, a classification's the name or the number (from 0)
    of the class; an empty one is unknown.

    Args:
        path: the CSV or JSON file, or a folder that holds it as ``cases.csv`` or ``dataset.json``.
        tasks: the task list.
        classes: classification task to the names of its classes.

    Returns:
        One item a case in the list's order: "case", "image" (path), the labels that are known, and where given "group"
        and "split".

    Raises:
        ConfigError: when a task has a key that does not exist, or classes are given for no classification.
        DataError: when the file cannot be read or lacks a column, files are missing, a class or split is not known, two
            cases have one name, or a group is in two splits; names the file and the lines.

    """
    tasks = check_tasks(tasks)
    refuse_unknown(classes or {}, [task for task, spec in tasks.items() if spec["kind"] == "classification"], "classes")
    file = _list_file(existing_path(path, "or list of the data set"))
    rows = _read(file, ("case", "image", *tasks))
    if file.suffix.lower() == ".json":
        for row in rows:
            _refuse_misspelt(row.cells, ("case", "image", *OPTIONAL, "label", *tasks), f"{file}: {row.where}")
        rows = [_with_label(row, tasks, file) for row in rows]
    problems: list[str] = []
    items = [_item(row, file.parent, tasks, dict(classes or {}), problems) for row in rows]
    problems += _contradictions(rows, items)
    _refuse(file, problems)
    return items


def case_images(path: str | os.PathLike, spatial_dims: int, split: str | None = None) -> list[Item]:
    """List images to predict on; labels are not looked at.

    Args:
        path: a list as :py:func:`case_table` takes it, an image, or a folder of images; in 3D also a DICOM series.
        spatial_dims: 2: pictures; 3: volumes.
        split: of a list with splits: this part alone. None: all cases.

    Returns:
        One item a case: "case", "image" and, of a list, "group" and "split".

    Raises:
        DataError: when nothing is there, a file is missing, or the list has no such split.

    """
    found = existing_path(path, "or list to predict on")
    inside = [found / name for name in LISTS if (found / name).is_file()]
    if not inside and found.suffix.lower() not in (".csv", ".json"):
        return inference_list(found) if spatial_dims == 3 else photo_list(found)
    file = _list_file(found)
    rows = _read(file, ("case", "image"))
    problems: list[str] = []
    items = [_item(row, file.parent, {}, {}, problems) for row in rows]
    _refuse(file, problems)
    if split is not None:
        items = [item for item in items if item.get("split") == split]
        if not items:
            raise DataError(f"{file} has no case whose split is {split!r}. Give no --split to predict on all.")
    refuse_same_names(items, "Rename one")
    return items


def _list_file(path: Path) -> Path:
    if path.is_file():
        return path
    found = [path / name for name in LISTS if (path / name).is_file()]
    if len(found) != 1:
        what = f"holds {' and '.join(file.name for file in found)}" if found else f"holds no {' or '.join(LISTS)}"
        raise DataError(f"{path} {what}: give the path of the list itself.")
    return found[0]


def _read(file: Path, columns: Sequence[str]) -> list[Row]:
    rows = _read_json(file) if file.suffix.lower() == ".json" else _read_csv(file, columns)
    if not rows:
        raise DataError(f"{file} lists no case.")
    return rows


def _read_csv(file: Path, columns: Sequence[str]) -> list[Row]:
    text = _text(file)
    first = text.partition("\n")[0]
    reader = csv.reader(text.splitlines(), delimiter=max(",;\t", key=first.count))
    header: list[str] = []
    rows: list[Row] = []
    for cells in _lines(reader, file):
        if not any(cell.strip() for cell in cells):
            continue
        if not header:
            header = [cell.strip() for cell in cells]
            continue
        if len(cells) > len(header):
            raise DataError(f"{file}, line {reader.line_num}: {len(cells)} cells under {len(header)} columns.")
        values = [cell.strip() for cell in cells] + [""] * (len(header) - len(cells))
        rows.append(Row(f"line {reader.line_num}", dict(zip(header, values, strict=True))))
    missing = [name for name in columns if name not in header]
    if missing:
        raise DataError(
            f"{file} has no column {' and no '.join(missing)}; it has {', '.join(header) or 'none'}. A task that no"
            " case has a label for still needs its column, with empty cells."
        )
    _refuse_misspelt(header, (*columns, *OPTIONAL), str(file))
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"{file} has two columns {', '.join(twice)}: rename one.")
    return rows


def _refuse_misspelt(names: Iterable[str], known: Sequence[str], where: str) -> None:
    """Refuse names that are nearly those that are looked for and not there: they would be passed over."""
    names = list(map(str, names))
    absent = [name for name in known if name not in names]
    for name in names:
        near = [] if name in known else difflib.get_close_matches(name.lower(), absent, n=1, cutoff=NEARLY)
        if near:
            raise DataError(f"{where} has {name!r}, and no {near[0]!r}: rename it, or give it another name.")


def _lines(reader: Any, file: Path) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise DataError(f"{file}, line {reader.line_num}: {error}. Save it as CSV in UTF-8.") from error


def _text(file: Path) -> str:
    if require_file(file) > MAX_BYTES:
        raise DataError(f"{file} has more than {MAX_BYTES} bytes: that is no list of cases.")
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read as text in UTF-8 ({error}). Save it as such.") from error


def _read_json(file: Path) -> list[Row]:
    try:
        content = json.loads(_text(file))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} cannot be read as JSON ({error}).") from error
    if not isinstance(content, Mapping) or not any(section in content for section in SECTIONS):
        raise DataError(f'{file} has no list "training": give {{"training": [...], "validation": [...]}}.')
    rows: list[Row] = []
    for section, part in SECTIONS.items():
        entries = content.get(section) or []
        if not isinstance(entries, list):
            raise DataError(f"{file}: {section} must be a list of cases.")
        for k, entry in enumerate(entries):
            cells = {"image": entry} if isinstance(entry, str) else entry
            if not isinstance(cells, Mapping):
                raise DataError(f'{file}: {section}[{k}] must be a dictionary such as {{"image": ..., "label": ...}}.')
            # A list that names nothing but training cases leaves their parts open.
            alone = part == "train" and not any(content.get(other) for other in ("validation", "test"))
            named = {} if alone else {"split": part}
            rows.append(Row(f"{section}[{k}]", {**named, **cells}))
    return rows


def _with_label(row: Row, tasks: Mapping[str, Mapping[str, Any]], file: Path) -> Row:
    """The Decathlon calls the only label "label"."""
    masks = [task for task, spec in tasks.items() if spec["kind"] == "segmentation"]
    if "label" not in row.cells or any(task in row.cells for task in masks):
        return row
    if len(masks) != 1:
        raise DataError(
            f'{file}: {row.where} has a "label", and {len(masks)} of the tasks are segmentations: name the label by its'
            f" task ({', '.join(tasks)})."
        )
    return Row(row.where, {**row.cells, masks[0]: row.cells["label"]})


def _item(
    row: Row,
    folder: Path,
    tasks: Mapping[str, Mapping[str, Any]],
    classes: Mapping[str, Sequence[str]],
    problems: list[str],
) -> Item:
    cells = row.cells

    def path_of(column: str) -> str | None:
        value = cells.get(column)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            problems.append(f"{row.where}: {column} must be one path, not {value!r}")
            return None
        path = Path(os.path.normpath(folder / Path(os.path.expanduser(value))))
        if not os.path.exists(path):
            problems.append(f"{row.where}: the {column} {path} is not there")
        return str(path)

    image = path_of("image")
    if image is None and not _empty(cells.get("image")):
        image = ""
    elif image is None:
        problems.append(f"{row.where}: no image")
    name = str(cells["case"]).strip() if not _empty(cells.get("case")) else name_of_image(image or "")
    if not name:
        problems.append(f"{row.where}: no case")
    item: Item = {"case": name, "image": image or ""}
    if not _empty(cells.get("group")):
        item["group"] = str(cells["group"])
    if "split" in cells:
        if cells["split"] not in PARTS:
            problems.append(f"{row.where}: the split is {cells['split']!r}, not {', '.join(PARTS)}")
        item["split"] = cells["split"]
    for task, spec in tasks.items():
        if spec["kind"] == "classification":
            number = _class(cells.get(task), classes.get(task) or list(map(str, range(spec["out_channels"]))))
            if isinstance(number, str):
                problems.append(f"{row.where}: {task} {number}")
            elif number is not None:
                item[task] = number
        else:
            path = path_of(task)
            if path is not None:
                item[task] = path
    return item


def _class(value: Any, names: Sequence[str]) -> int | str | None:
    """Number of a class; None where it is unknown; a text, what is wrong with it."""
    text = "" if value is None else str(value).strip()
    if text in names:
        return list(names).index(text)
    if text.lower() in UNKNOWN:
        return None
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not math.isfinite(number):
        number = -1.0
    # pandas writes whole numbers as 1.0 where some are missing.
    if number == int(number) and str(int(number)) in names:
        return list(names).index(str(int(number)))
    # Where the names are numbers themselves, such as grades 1 to 3, a number is a name.
    numbered = any(name.isdigit() for name in names)
    if not numbered and number == int(number) and 0 <= number < len(names):
        return int(number)
    return f"is {text!r}: give {', '.join(names)}{'' if numbered else ' or its number from 0'}, or leave it empty"


def _contradictions(rows: Sequence[Row], items: Sequence[Item]) -> list[str]:
    """Names that stand twice, and groups that lie in two splits."""
    found: list[str] = []
    first: dict[str, str] = {}
    splits: dict[str, tuple[str, str]] = {}
    for row, item in zip(rows, items, strict=True):
        name = item["case"]
        if name and name in first:
            found.append(f"{row.where}: the case {name} stands in {first[name]} already")
        first.setdefault(name, row.where)
        if "group" in item and "split" in item:
            split, where = splits.setdefault(item["group"], (item["split"], row.where))
            if split != item["split"]:
                found.append(f"{row.where}: group {item['group']} is in {item['split']}, in {where} it is in {split}")
    return found


def _refuse(file: Path, problems: Sequence[str]) -> None:
    if problems:
        more = f"; and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
        count = "1 thing is" if len(problems) == 1 else f"{len(problems)} things are"
        raise DataError(f"{file}: {count} wrong. {'; '.join(problems[:LISTED])}{more}.")


def _empty(value: Any) -> bool:
    return value is None or value == ""
