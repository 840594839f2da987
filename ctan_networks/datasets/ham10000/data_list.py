# SPDX-License-Identifier: Apache-2.0
"""HAM10000 and ISIC 2018: which image has which diagnosis, mask and lesion."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ctan_networks.data.case_list import existing_path
from ctan_networks.data.mask_reader import MaskReader
from ctan_networks.data.photo_list import files_below, is_photo, photo_of_mask
from ctan_networks.data.photo_reader import ORIENTATION, STORED_SIZE, PhotoReader, picture_header
from ctan_networks.datasets.ham10000.duplicates import merge_groups, near_pairs, perceptual_hash
from ctan_networks.datasets.ham10000.labels import CLASSES, Labels, is_label_file, read_labels
from ctan_networks.errors import DataError
from ctan_networks.transforms.masks import inside_mask, turn_of_mask

__all__ = ["ham10000_list", "inspect_photos"]

logger = logging.getLogger(__name__)

# The Dataverse serves the table of HAM10000 with tabs, or without a suffix.
TABLES = (".csv", ".tab", ".tsv", ".txt", "")
SHEETS = (".xlsx", ".xls", ".ods")
# The Dataverse download of HAM10000 holds the test set of ISIC 2018 Task 3 too.
RESERVED = "ISIC2018_Task3_Test"
LISTED = 20
# EXIF orientations whose rows are columns.
SIDEWAYS = (5, 6, 7, 8)
LAYOUT = (
    "HAM10000_images_part_1/ISIC_*.jpg, HAM10000_images_part_2/ISIC_*.jpg, HAM10000_metadata.csv and, in any folder,"
    " masks ISIC_*_segmentation.png; or ISIC2018_Task1-2_Training_Input/ and ISIC2018_Task1_Training_GroundTruth/"
)

Item = dict[str, Any]


def ham10000_list(
    dataset_dir: str | os.PathLike | Sequence[str | os.PathLike], classes: Sequence[str] = CLASSES
) -> list[Item]:
    """List dermatoscopic images with what is known of each.

    Images, masks and label files are looked for in all sub-folders of the folders given, so that HAM10000, ISIC 2018
    Task 1, PH2, or several together, are read in the layout in which they are published. Label files are CSV (commas,
    tabs or semicolons), told apart by their columns: see
    :py:func:`ctan_networks.datasets.ham10000.labels.read_labels`. The test set of ISIC 2018 Task 3 is passed over
    unless its own folders or its label file are given; its images are then in the split "test".

    Args:
        dataset_dir: one folder, or several; a label file may be given, too.
        classes: the diagnoses, in the order of their numbers.

    Returns:
        One item an image, ordered by name: "case" (the file's name without suffix), "image" (path), "group" (the
        lesion, or the image where no lesion is known), and where known "segmentation" (path of the mask), "diagnosis"
        (number of the class), "age", "sex", "site", and "split" ("test") of a test set. What cannot be used, such as
        a row without image or an image without any label, is an item with "case" and "unusable", the reason.

    Raises:
        DataError: when a folder is not there, holds no image, or a label file cannot be read.

    """
    folders = [dataset_dir] if isinstance(dataset_dir, str | os.PathLike) else list(dataset_dir)
    files = [file for folder in folders for file in _files(existing_path(folder, "of the data set"))]
    pictures = [file for file in dict.fromkeys(files) if is_photo(file)]
    tables = [file for file in dict.fromkeys(files) if file.suffix.lower() in TABLES and is_label_file(file, classes)]
    _warn("files are not read: save them as CSV", [str(file) for file in files if file.suffix.lower() in SHEETS])
    stems = {file.stem for file in pictures}
    photos: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    doubles: list[str] = []
    for file in pictures:
        masked = photo_of_mask(file.stem, stems)
        kind, name = (photos, file.stem) if masked is None else (masks, masked)
        if name in kind:
            doubles.append(f"{file} (kept: {kind[name]})")
        else:
            kind[name] = file
    if not photos:
        raise DataError(f"no image in {', '.join(map(str, folders))}. {_where_else(folders)}")
    _warn("files have the name of another and are left out", doubles)
    labels = read_labels(tables, classes)
    _warn(
        "labels cannot be used and are left out",
        [f"{name}: {why}" for name, reasons in labels.problems.items() for why in reasons],
    )
    items = [_item(name, photos.get(name), masks.get(name), labels) for name in sorted({*photos, *masks, *labels.rows})]
    remarks = [f"{item['case']}: {item.pop('remark')}" for item in items if "remark" in item]
    _warn("masks cannot be used and are left out", remarks)
    return items


def inspect_photos(items: Sequence[Item], distance: int = 40) -> list[Item]:
    """Decode every image once: name those that cannot be read, and join duplicates in one group.

    Pass it as ``inspect`` of :py:func:`ctan_networks.data.split_cases`.

    Args:
        items: as :py:func:`ham10000_list` gives them.
        distance: see :py:func:`ctan_networks.datasets.ham10000.duplicates.near_pairs`.

    Returns:
        The items; "unusable" where image or mask cannot be read, "group" the same for images that look the same.

    """
    logger.info("decoding %d images to check them and to find duplicates (once for a list of parts)", len(items))
    read_photo, read_mask = PhotoReader(), MaskReader()
    readable: list[Item] = []
    broken: list[Item] = []
    hashes: list[np.ndarray] = []
    for item in items:
        try:
            photo, _ = read_photo.get_data(item["image"])
            hashes.append(perceptual_hash(Image.fromarray(np.ascontiguousarray(photo.swapaxes(0, 1)))))
            if "segmentation" in item:
                _check_mask(read_mask.get_data(item["segmentation"])[0], item["segmentation"])
        except DataError as error:  # noqa: PERF203  beside the decoding it costs nothing
            del hashes[len(readable) :]
            broken.append({"case": item["case"], "unusable": str(error)})
        else:
            readable.append(dict(item))
    if readable:
        groups = [item["group"] for item in readable]
        merged = merge_groups(groups, near_pairs(np.array(hashes), distance))
        for item, group in zip(readable, merged, strict=True):
            item["group"] = group
        changed = len(set(groups)) - len(set(merged))
        logger.info(
            "%d images of %d lesions; %d lesions joined to another that looks the same", *_counts(merged), changed
        )
    return readable + broken


def _check_mask(values: np.ndarray, file: str) -> None:
    """Refuse what is no mask, and one that is 0 in the lesion: no lesion fills the whole border and not the middle."""
    inside = inside_mask(torch.as_tensor(np.array(values)), file)
    border = torch.cat([inside[0], inside[-1], inside[:, 0], inside[:, -1]])
    if bool(border.all()) and not bool(inside.all()):
        raise DataError(f"{file} is 0 in the middle and not at the border: save it with 0 outside of the lesion.")


def _counts(groups: Sequence[str]) -> tuple[int, int]:
    return len(groups), len(set(groups))


def _files(root: Path) -> Iterator[Path]:
    """Files below a folder, without those of a reserved test set below it; or the file itself."""
    if root.is_file():
        yield root
        return
    asked = RESERVED in str(root)
    passed_over = 0
    for file in files_below(root):
        if asked or RESERVED not in str(file):
            yield file
        else:
            passed_over += 1
    if passed_over:
        logger.warning("%s: %d files of %s are a test set and are passed over.", root, passed_over, RESERVED)


def _where_else(folders: Sequence[str | os.PathLike]) -> str:
    """What to give instead of folders that hold no image."""
    found = sorted(p for f in folders if Path(f).is_dir() for p in Path(f).rglob(f"{RESERVED}*"))
    outermost = [str(path) for path in found if RESERVED not in str(path.parent)]
    if outermost:
        return f'It holds a test set, which is read when it is named: --dataset_dir "{outermost}" --split test.'
    return f"The layout must be {LAYOUT}."


def _item(name: str, photo: Path | None, mask: Path | None, labels: Labels) -> Item:
    row = labels.rows.get(name, {})
    if photo is None:
        what = "a mask" if mask else "a row"
        return {"case": name, "unusable": f"{what} without image: no {name}.jpg or the like ({mask or row['file']})"}
    item: Item = {"case": name, "image": str(photo), "group": row.get("lesion") or name}
    item.update({key: row[key] for key in ("diagnosis", "age", "sex", "site") if key in row})
    if RESERVED in str(photo):
        item["split"] = "test"
    if mask is not None:
        difference = _misfit(photo, mask)
        if difference is None:
            item["segmentation"] = str(mask)
        else:
            item["remark"] = difference
    if not {"segmentation", "diagnosis"} & item.keys():
        why = item.pop("remark", None) or "; ".join(labels.problems.get(name, []))
        if not why and RESERVED in str(photo):
            why = f"give {RESERVED}_GroundTruth.csv, too"
        return {"case": name, "unusable": f"neither a mask nor a diagnosis{f' ({why})' if why else ''}: {photo}"}
    return item


def _misfit(photo: Path, mask: Path) -> str | None:
    """Why a mask does not lie on its photograph; None when it does, or a file cannot be read, which shows later."""
    try:
        own, other = picture_header(photo), picture_header(mask)
    except DataError:  # inspect_photos names what cannot be read, and how
        return None
    try:
        turn = turn_of_mask(own, other)
    except DataError as error:
        return f"the mask {mask}: {error}"
    size = _shown_size(own, own[ORIENTATION])
    other_size = _shown_size(other, max(turn, other[ORIENTATION]))
    if size == other_size:
        return None
    return f"the mask {mask} has {other_size[0]} x {other_size[1]} pixels, the image {size[0]} x {size[1]}"


def _shown_size(meta: dict[str, Any], orientation: int) -> tuple[int, int]:
    width, height = meta[STORED_SIZE]
    return (height, width) if orientation in SIDEWAYS else (width, height)


def _warn(what: str, names: Sequence[str]) -> None:
    if names:
        more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
        logger.warning("%d %s: %s%s", len(names), what, "; ".join(names[:LISTED]), more)
