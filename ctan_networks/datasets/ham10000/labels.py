# SPDX-License-Identifier: Apache-2.0
"""Label files of dermatoscopic images: HAM10000's metadata, ISIC 2018 Task 3, and plain lists."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ctan_networks.data.tables import read_header, read_table

__all__ = ["CLASSES", "Labels", "is_label_file", "read_labels"]

logger = logging.getLogger(__name__)

# Order of the columns of ISIC 2018 Task 3, so that a table of probabilities can be submitted as it is.
CLASSES = ("mel", "nv", "bcc", "akiec", "bkl", "df", "vasc")
UNKNOWN = ("", "nan", "unknown", "unk", "none", "na", "n/a")


class Labels(NamedTuple):
    """What label files say.

    Attributes:
        rows: image to what is known: "file" always; "diagnosis" (number of the class), "lesion", "age", "sex", "site".
        problems: image to what is wrong with its labels that are left out, and where.
    """

    rows: dict[str, dict[str, Any]]
    problems: dict[str, list[str]]


def is_label_file(file: Path, classes: Sequence[str] = CLASSES) -> bool:
    """Whether a file is a CSV, which is then read or named in the log, or has the columns of a label file."""
    return file.suffix.lower() == ".csv" or _is_labels(read_header(file), classes)


def _is_labels(columns: Collection[str], classes: Sequence[str]) -> bool:
    one_hot = all(name in columns for name in classes)
    return bool({"image_id", "image"} & {*columns}) and (one_hot or bool({"dx", "lesion_id"} & {*columns}))


def read_labels(files: Iterable[Path], classes: Sequence[str] = CLASSES) -> Labels:
    """Read every CSV among ``files`` that has labels, and join what they say of an image.

    ======================================  ========================================================================
    columns                                 file
    ======================================  ========================================================================
    ``image_id``, ``dx``                    ``HAM10000_metadata.csv`` (with ``lesion_id``, ``age``, ``sex``,
                                            ``localization``), or a plain list
    ``image``, one column a class           ``ISIC2018_Task3_Training_GroundTruth.csv``: 1 in the column of the class
    ``image``, ``lesion_id``                ``ISIC2018_Task3_Training_LesionGroupings.csv``
    ======================================  ========================================================================

    Other CSV files are passed over, and named in the log. An empty diagnosis is unknown. A diagnosis that is no class,
    a value that is no number, or two files (or rows) that contradict each other leave the image without diagnosis; each
    is in ``problems``.

    Args:
        files: CSV files.
        classes: the diagnoses, in the order of their numbers.

    Raises:
        DataError: when a file cannot be read as CSV.

    """
    labels = Labels({}, defaultdict(list))
    contradicted: set[str] = set()
    for file in files:
        table = read_table(file, "Mend it, or take it out of the folder.")
        columns = {str(c).strip().lower(): str(c) for c in table.columns}
        key = next((columns[name] for name in ("image_id", "image") if name in columns), None)
        one_hot = all(name in columns for name in classes)
        if key is None or not _is_labels(columns, classes):
            logger.warning("%s: no label file (columns %s): passed over.", file, ", ".join(map(str, table.columns[:8])))
            continue
        seen: set[str] = set()
        for values in table.to_dict("records"):
            name = str(values[key]).strip()
            if not name:
                labels.problems["?"].append(f"a row without image id in {file}")
                continue
            row = labels.rows.setdefault(name, {"file": str(file)})
            if name in seen:
                labels.problems[name].append(f"listed twice in {file}")
            seen.add(name)
            text = {low: str(values[column]).strip() for low, column in columns.items()}
            for own, column in (("lesion", "lesion_id"), ("age", "age"), ("sex", "sex"), ("site", "localization")):
                if text.get(column, "").lower() not in UNKNOWN:
                    row.setdefault(own, text[column])
            found = _one_hot(text, classes) if one_hot else _named(text.get("dx", ""), classes)
            if isinstance(found, str):
                labels.problems[name].append(f"{found} in {file}")
            elif found is not None and row.setdefault("diagnosis", found) != found:
                labels.problems[name].append(
                    f"{classes[row['diagnosis']]} in {row['file']}, but {classes[found]} in {file}"
                )
                contradicted.add(name)
    for name in contradicted:
        del labels.rows[name]["diagnosis"]
    return labels


def _named(text: str, classes: Sequence[str]) -> int | str | None:
    """Number of the class; None when unknown; else what is wrong."""
    if text.lower() in UNKNOWN:
        return None
    return classes.index(text.lower()) if text.lower() in classes else f"the diagnosis {text!r} is no class"


def _one_hot(text: dict[str, str], classes: Sequence[str]) -> int | str | None:
    try:
        values = [float(text[name] or 0) for name in classes]
    except ValueError:
        return f"a value is no number ({', '.join(text[name] for name in classes)})"
    if not any(values):
        return None
    if sorted(values) != [0.0] * (len(classes) - 1) + [1.0]:
        return f"not exactly one class is 1 ({', '.join(text[name] for name in classes)})"
    return values.index(1.0)
