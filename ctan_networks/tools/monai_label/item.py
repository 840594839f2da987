# SPDX-License-Identifier: Apache-2.0
"""Training items of MONAI Label, which knows an image and a label alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ctan_networks.errors import DataError
from ctan_networks.utils import name_of_image

__all__ = ["LABEL_MAP", "MONAILabelItem", "is_from_server"]

# Says that an item's segmentation is one label map, and not the form that the data set's own files have.
LABEL_MAP = "label_map"
# Entries of the JSON file that are neither a class nor a path.
NUMBERS = ("prescription",)


def is_from_server(items: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a data list is MONAI Label's: ``image`` and ``label`` of each item and no name of the case."""
    items = list(items)
    return bool(items) and all("label" in item and "case" not in item for item in items)


class MONAILabelItem:
    """Turn ``{"image": path, "label": path}`` into an item of this package; other items pass unchanged.

    The label becomes the segmentation. What MONAI Label has no place for (dose, diagnosis) is looked up in a JSON file
    beside the image that has its name, such as ``case1.json`` for ``case1.nii.gz``:
    ``{"dose": "doses/case1.nii.gz", "prescription": 70}`` or ``{"diagnosis": "nv"}``. Paths are relative to that file.
    Other entries are not looked at. A task that is not there is unknown for this case. Without a dense task
    (``segmentation=None``) the label is not used.

    Args:
        classes: for classification tasks the names of their classes; the JSON file has a name or its number.
        files: entries of the JSON file that are paths.
        segmentation: where the label goes.
        prescription: in Gy, of all of the server's items, whatever their JSON files state; None: what each states.

    Raises:
        DataError: when the JSON file cannot be read, names an unknown class or a file that is not there.

    """

    def __init__(
        self,
        classes: Mapping[str, Sequence[str]] | None = None,
        files: Sequence[str] = ("dose",),
        segmentation: str | None = "segmentation",
        prescription: float | None = None,
    ) -> None:
        self.classes = {task: list(names) for task, names in (classes or {}).items()}
        self.files = tuple(files)
        self.segmentation = segmentation
        self.prescription = prescription

    def __call__(self, item: Mapping[str, Any]) -> dict[str, Any]:
        if "label" not in item or "case" in item:
            return dict(item)
        image = Path(item["image"])
        name = name_of_image(image)
        turned: dict[str, Any] = {k: v for k, v in item.items() if k != "label"} | {"case": name}
        if self.segmentation is not None:
            turned |= {self.segmentation: item["label"], LABEL_MAP: True}
        given = {"prescription": self.prescription} if self.prescription else {}
        return turned | self._beside(image.with_name(f"{name}.json")) | given

    def _beside(self, file: Path) -> dict[str, Any]:
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise DataError(f"{file} cannot be read as JSON ({error}). Mend it or take it away.") from error
        if not isinstance(found, dict):
            raise DataError(f'{file} must hold one JSON object such as {{"diagnosis": "nv"}}.')
        for task, names in self.classes.items():
            if task in found:
                found[task] = _class_number(found[task], names, f"{file}: {task}")
        for entry in self.files:
            if entry in found:
                path = file.parent / str(found[entry])
                if not path.exists():
                    raise DataError(
                        f"{file}: {entry} names {path}, which is not there. Paths are relative to the file."
                    )
                found[entry] = str(path)
        # Whatever else somebody noted there, such as a name, would go to the cache.
        return {entry: found[entry] for entry in (*self.classes, *self.files, *NUMBERS) if entry in found}


def _class_number(value: Any, names: list[str], where: str) -> int:
    if isinstance(value, str) and value in names:
        return names.index(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
        return value
    raise DataError(f"{where} is {value!r}: give one of {', '.join(names)}, or its number from 0.")
