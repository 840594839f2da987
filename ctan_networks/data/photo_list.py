# SPDX-License-Identifier: Apache-2.0
"""Data lists of photographs to predict on."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from ctan_networks.data.case_list import existing_path, refuse_same_names
from ctan_networks.data.photo_reader import PHOTO_SUFFIXES
from ctan_networks.errors import DataError
from ctan_networks.reading import walk_folder

__all__ = ["files_below", "is_photo", "photo_list", "photo_of_mask"]

# What masks are called beside their photographs; the first is never a photograph's name.
MASK = re.compile(r"(?P<photo>.+)_segmentation", re.IGNORECASE)
MAYBE_MASK = re.compile(r"(?P<photo>.+)_(lesion|mask)", re.IGNORECASE)
# Pictures that data sets put beside photographs: super-pixels of ISIC 2018, colour regions of PH2.
OTHERS = re.compile(r".+(_superpixels|_R\d+_Label\d+)", re.IGNORECASE)


def photo_list(dataset_dir: str | os.PathLike) -> list[dict[str, Any]]:
    """List images to predict on: one file, or every picture in a folder and its sub-folders. Masks are passed over.

    Returns:
        One item an image, ordered by name, with "case" (file name without suffix, with its sub-folder where two
        have the same) and "image".

    Raises:
        DataError: when nothing is there, or two would have one name.

    """
    path = existing_path(dataset_dir, "to predict on")
    files = [path] if path.is_file() else [file for file in files_below(path) if is_photo(file)]
    stems = {file.stem for file in files}
    photos = [f for f in files if photo_of_mask(f.stem, stems) is None and f.suffix.lower() in PHOTO_SUFFIXES]
    if not photos:
        raise DataError(
            f"{path} holds no photograph ({', '.join(PHOTO_SUFFIXES)}). Give an image, or a folder of images."
        )
    count = Counter(photo.stem for photo in photos)
    items = []
    for photo in photos:
        name = photo.stem
        if count[name] > 1:
            name = photo.relative_to(path).as_posix().replace("/", "_")
        items.append({"case": name, "image": str(photo)})
    refuse_same_names(items, "Rename one")
    return items


def is_photo(file: Path) -> bool:
    """Whether a file is a photograph or a mask by its name."""
    return file.suffix.lower() in PHOTO_SUFFIXES and not OTHERS.fullmatch(file.stem)


def photo_of_mask(stem: str, stems: Collection[str]) -> str | None:
    """Name of the photograph that a mask belongs to.

    Args:
        stem: name of a picture without its suffix.
        stems: those of all pictures. ``x_mask`` and ``x_lesion`` are masks where there is an ``x``.

    Returns:
        None when the picture is no mask.

    """
    found = MASK.fullmatch(stem)
    if found is None and (found := MAYBE_MASK.fullmatch(stem)) is not None and found["photo"] not in stems:
        return None
    return found["photo"] if found else None


def files_below(root: Path) -> Iterator[Path]:
    """Files in a folder and its sub-folders in a fixed order, without hidden ones."""
    for folder, folders, names in walk_folder(root):
        folders[:] = [f for f in folders if not f.startswith(".")]
        for name in names:
            file = Path(folder, name)
            # Not waiting for pipes; a link to nothing is named when it is opened.
            if not name.startswith(".") and (file.is_file() or not file.exists()):
                yield file
