# SPDX-License-Identifier: Apache-2.0
"""HAM10000 and ISIC 2018: which image has which diagnosis, mask and lesion."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ctan_networks.data.case_list import existing_path, refuse_same_names
from ctan_networks.data.photo_reader import open_photo
from ctan_networks.datasets.ham10000.duplicates import merge_groups, near_pairs, perceptual_hash
from ctan_networks.datasets.ham10000.labels import CLASSES, Labels, read_labels
from ctan_networks.errors import DataError
from ctan_networks.reading import walk_folder

__all__ = ["ham10000_list", "inspect_photos", "photo_list"]

logger = logging.getLogger(__name__)

PHOTOS = (".jpg", ".jpeg", ".png")
MASK = "_segmentation"
# ISIC 2018 puts pictures of super-pixels beside some of its images.
OTHERS = ("_superpixels",)
# The Dataverse download of HAM10000 holds the test set of ISIC 2018 Task 3 too.
RESERVED = "ISIC2018_Task3_Test"
LISTED = 20
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
    Task 1, or both together, are read in the layout in which they are published. Label files are CSV, told apart by
    their columns: see :py:func:`ctan_networks.datasets.ham10000.labels.read_labels`. The test set of ISIC 2018 Task 3
    is
    passed over unless a folder of it is given itself.

    Args:
        dataset_dir: one folder, or several.
        classes: the diagnoses, in the order of their numbers.

    Returns:
        One item an image, ordered by name: "case" (the file's name without suffix), "image" (path), "group" (the
        lesion, or the image where no lesion is known), and where known "segmentation" (path of the mask), "diagnosis"
        (number of the class), "age", "sex", "site". What cannot be used, such as a row without image or an image
        without any label, is an item with "case" and "unusable", the reason.

    Raises:
        DataError: when a folder is not there, holds no image, or a label file cannot be read.

    """
    folders = [dataset_dir] if isinstance(dataset_dir, str | os.PathLike) else list(dataset_dir)
    photos: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    tables: list[Path] = []
    doubles: list[str] = []
    for folder in folders:
        for file in _files(existing_path(folder, "of the data set")):
            suffix, stem = file.suffix.lower(), file.stem
            if suffix == ".csv":
                tables.append(file)
            elif suffix in PHOTOS and not stem.endswith(OTHERS):
                kind, name = (masks, stem.removesuffix(MASK)) if stem.endswith(MASK) else (photos, stem)
                if name in kind:
                    doubles.append(f"{file} (kept: {kind[name]})")
                else:
                    kind[name] = file
    if not photos:
        raise DataError(f"no image in {', '.join(map(str, folders))}. The layout must be {LAYOUT}.")
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
    readable: list[Item] = []
    broken: list[Item] = []
    hashes: list[np.ndarray] = []
    for item in items:
        try:
            hashes.append(perceptual_hash(open_photo(item["image"])))
            if "segmentation" in item:
                open_photo(item["segmentation"], "L")
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


def photo_list(dataset_dir: str | os.PathLike) -> list[Item]:
    """List images to predict on: one file, or every JPG and PNG in a folder and its sub-folders. Masks are passed over.

    Returns:
        One item an image, ordered by name, with "case" (file name without suffix, with its sub-folder where two
        have the same) and "image".

    Raises:
        DataError: when nothing is there, or two would have one name.

    """
    path = existing_path(dataset_dir, "to predict on")
    files = [path] if path.is_file() else list(_files(path))
    photos = [f for f in files if f.suffix.lower() in PHOTOS and not f.stem.endswith((MASK, *OTHERS))]
    if not photos:
        raise DataError(f"{path} holds no JPG or PNG. Give an image, or a folder of images.")
    stems = Counter(photo.stem for photo in photos)
    items = []
    for photo in photos:
        name = photo.stem
        if stems[name] > 1:
            name = photo.relative_to(path).as_posix().replace("/", "_")
        items.append({"case": name, "image": str(photo)})
    refuse_same_names(items, "Rename one")
    return items


def _counts(groups: Sequence[str]) -> tuple[int, int]:
    return len(groups), len(set(groups))


def _files(root: Path) -> Iterator[Path]:
    """Files below a folder in a fixed order, without hidden ones and without the reserved test set."""
    passed_over = 0
    for folder, folders, names in walk_folder(root):
        folders[:] = [f for f in folders if not f.startswith(".")]
        for name in names:
            file = Path(folder, name)
            if name.startswith("."):
                continue
            if RESERVED in str(file.relative_to(root)):
                passed_over += 1
                continue
            # Not waiting for pipes; a link to nothing is named when it is opened.
            if file.is_file() or not file.exists():
                yield file
    if passed_over:
        logger.warning("%s: %d files of %s are a test set and are passed over.", root, passed_over, RESERVED)


def _item(name: str, photo: Path | None, mask: Path | None, labels: Labels) -> Item:
    row = labels.rows.get(name, {})
    if photo is None:
        what = "a mask" if mask else "a row"
        return {"case": name, "unusable": f"{what} without image: no {name}.jpg or .png ({mask or row['file']})"}
    item: Item = {"case": name, "image": str(photo), "group": row.get("lesion") or name}
    item.update({key: row[key] for key in ("diagnosis", "age", "sex", "site") if key in row})
    if mask is not None:
        difference = _sizes(photo, mask)
        if difference is None:
            item["segmentation"] = str(mask)
        else:
            item["remark"] = difference
    if not {"segmentation", "diagnosis"} & item.keys():
        why = item.pop("remark", None) or "; ".join(labels.problems.get(name, []))
        return {"case": name, "unusable": f"neither a mask nor a diagnosis{f' ({why})' if why else ''}: {photo}"}
    return item


def _sizes(photo: Path, mask: Path) -> str | None:
    """What is wrong with a mask's size; None when it is right or when a file cannot be read, which shows later."""
    try:
        with Image.open(photo) as a, Image.open(mask) as b:
            if a.size == b.size:
                return None
            return f"the mask {mask} has {b.width} x {b.height} pixels, the image {a.width} x {a.height}"
    except Exception:  # noqa: BLE001  inspect_photos names what cannot be read, and how
        return None


def _warn(what: str, names: Sequence[str]) -> None:
    if names:
        more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
        logger.warning("%d %s: %s%s", len(names), what, "; ".join(names[:LISTED]), more)
