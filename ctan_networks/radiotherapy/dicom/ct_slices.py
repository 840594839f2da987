# SPDX-License-Identifier: Apache-2.0
"""The CT images in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, CTImageStorage, EnhancedCTImageStorage

from ctan_networks.radiotherapy.dicom.elements import read_header
from ctan_networks.reading import list_folder

__all__ = ["ct_slices"]

CT_IMAGES = (CTImageStorage, EnhancedCTImageStorage)


def ct_slices(folder: str | os.PathLike, damaged: list[Path] | None = None) -> Iterator[tuple[Path, pydicom.Dataset]]:
    """Headers of the DICOM CT images in a folder, by content, whatever the files are called.

    Other DICOM objects (structures, plans, doses), other files and sub-folders are passed over.

    Args:
        folder: the folder.
        damaged: list to which files are added that may be CT images, but are cut short or damaged in the header.

    Yields:
        Path and data set without pixels, in the order of the file names.

    """
    for file in sorted(list_folder(folder)):
        if not file.is_file():
            if damaged is not None and os.path.islink(file) and not file.exists():
                damaged.append(file)
            continue
        try:
            header = read_header(file, ["Modality", "SeriesInstanceUID"])
            modality, series = header.get("Modality"), header.get("SeriesInstanceUID")
            kind = UID(str(header.file_meta.get("MediaStorageSOPClassUID", "")))
        except InvalidDicomError:
            continue
        except Exception:  # noqa: BLE001  pydicom raises whatever the place of the cut leads to
            modality, series, kind = None, None, UID("")
        if modality == "CT" and series:
            yield file, header
        # A file without modality may be a cut CT image, but not where it says that it is a DICOMDIR or the like.
        elif damaged is not None and not (modality and series) and (kind in CT_IMAGES or kind.type != "SOP Class"):
            damaged.append(file)
