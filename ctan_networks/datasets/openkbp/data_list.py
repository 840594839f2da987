# SPDX-License-Identifier: Apache-2.0
"""Data lists: which files belong to which case."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from ctan_networks.data.case_list import existing_path, visible
from ctan_networks.datasets.openkbp.files import STRUCTURES
from ctan_networks.errors import DataError
from ctan_networks.reading import is_there, list_folder

__all__ = ["openkbp_case", "openkbp_folders", "openkbp_list"]

SPLITS = ("train-pats", "validation-pats", "test-pats")
LAYOUT = "provided-data/train-pats/pt_1/ct.csv, dose.csv, ... and likewise validation-pats, test-pats"


def openkbp_list(
    dataset_dir: str | os.PathLike,
    split: str,
    require_labels: bool = True,
    predictions: str | os.PathLike | None = None,
    structures: Sequence[str] = STRUCTURES,
) -> list[dict[str, str]]:
    """List the patients of one split of OpenKBP, whichever of them are there, in the order of their numbers.

    Args:
        dataset_dir: the folder ``provided-data`` of the published data, or the folder that holds it.
        split: "train", "validation" or "test", or the sub-folder's own name, such as "train-pats".
        require_labels: refuse a patient that has neither a structure nor a dose.
        predictions: folder with a dose for each patient in the challenge's submission format, ``pt_N.csv``.
        structures: names of the structures that count as labels.

    Returns:
        One item a patient, with absolute paths: "case" (``pt_N``), "image" (``ct.csv``), "segmentation" (the patient's
        folder, if there is a structure), "dose" and "mask" (if the file is there), and "predicted_dose" (if
        ``predictions`` is given).

    Raises:
        DataError: when a folder is missing or empty, or when a patient lacks the CT, every label or the prediction.

    """
    folder = _split_folder(_openkbp_root(dataset_dir), split)
    items = []
    for patient in _patients(folder):
        item = {"case": patient.name, "image": str(patient / "ct.csv")}
        if any(is_there(patient / f"{name}.csv") for name in structures):
            item["segmentation"] = str(patient)
        for key, name in (("dose", "dose.csv"), ("mask", "possible_dose_mask.csv")):
            if is_there(patient / name):
                item[key] = str(patient / name)
        if require_labels and not {"segmentation", "dose"} & item.keys():
            raise DataError(
                f"case {patient.name} has no label: {patient} holds neither dose.csv nor a structure such as"
                f" {structures[0]}.csv. Add them, or take the case out of the folder."
            )
        if predictions is not None:
            item["predicted_dose"] = str(_prediction(existing_path(predictions, "of predictions"), patient.name))
        items.append(item)
    return items


def openkbp_folders(path: Path, split: str | None = None) -> list[Path]:
    """The folders of patients in the published layout; empty when it is another.

    Args:
        path: the folder ``provided-data``, or the folder that holds it.
        split: "train", "validation", "test", or the sub-folder's own name; None: those that are there.

    Raises:
        DataError: when the split is not there.

    """
    root = path / "provided-data" if (path / "provided-data").is_dir() else path
    if split is not None:
        return [_split_folder(root, split)]
    return [root / name for name in SPLITS if (root / name).is_dir()] or ([] if root == path else [root])


def openkbp_case(path: Path) -> dict[str, str] | None:
    """A patient's folder, or the ``ct.csv`` in it, as a case to predict on; None when the path is neither.

    Returns:
        "case", "image" and, where there is a possible-dose mask, "mask".

    Raises:
        DataError: when a patient's folder has no CT.

    """
    folder = path.parent if path.name == "ct.csv" and path.is_file() else path
    if (folder / "ct.csv").is_file():
        item = {"case": folder.name, "image": str(folder / "ct.csv")}
        mask = folder / "possible_dose_mask.csv"
        return item | {"mask": str(mask)} if is_there(mask) else item
    if re.fullmatch(r"pt_\d+", path.name) and path.is_dir() and any(p.suffix == ".csv" for p in list_folder(path)):
        _require_ct(path)
    return None


def _openkbp_root(dataset_dir: str | os.PathLike) -> Path:
    try:
        path = existing_path(dataset_dir, "of the data set")
    except DataError as error:
        raise DataError(f"{error} It must hold {LAYOUT}.") from None
    return path / "provided-data" if (path / "provided-data").is_dir() else path


def _split_folder(root: Path, split: str) -> Path:
    name = split if split.endswith("-pats") else f"{split}-pats"
    if not (root / name).is_dir():
        there = sorted(p.name for p in list_folder(root)) if root.is_dir() else []
        listed = ", ".join(there[:8]) + (", ..." if len(there) > 8 else "")
        raise DataError(
            f"no split {split!r}: {root / name} is not there; {root} holds {listed or 'nothing'}. Give one of the"
            f" splits that are there. The layout must be {LAYOUT}."
        )
    return root / name


def _patients(folder: Path) -> list[Path]:
    patients = [p for p in visible(folder) if p.is_dir()]
    if not patients:
        raise DataError(f"{folder} holds no patient. The layout must be {LAYOUT}.")
    for patient in patients:
        _require_ct(patient)
    return patients


def _require_ct(patient: Path) -> None:
    if not (patient / "ct.csv").is_file():
        raise DataError(
            f"case {patient.name} has no CT: {patient / 'ct.csv'} is not there. Add it, or take the case out."
        )


def _prediction(folder: Path, case: str) -> Path:
    file = folder / f"{case}.csv"
    if not file.is_file():
        raise DataError(
            f"case {case} has no prediction: {file} is not there. Add it, or evaluate the cases that have one."
        )
    return file
