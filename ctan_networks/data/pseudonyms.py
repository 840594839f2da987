# SPDX-License-Identifier: Apache-2.0
"""What a case is called whose folder is named after the patient."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pydicom
from pydicom.errors import InvalidDicomError

from ctan_networks.dicom.elements import read_header, without_comment
from ctan_networks.reading import walk_folder

__all__ = ["case_of_folder", "tell_renamed", "without_folder_name", "without_patient"]

logger = logging.getLogger(__name__)

PATIENT_TAGS = ["PatientName", "PatientID"]
PSEUDONYM = "case_"


def case_of_folder(folder: Path) -> str:
    """The folder's name, or a pseudonym where the DICOM in it says that this gives the patient away."""
    for parent, _, files in walk_folder(folder):
        for file in files:
            if not (Path(parent) / file).is_file():
                continue
            try:
                words = _words(read_header(Path(parent) / file, PATIENT_TAGS))
            except InvalidDicomError:
                continue
            except Exception:  # noqa: BLE001  a damaged file is reported when it is used
                continue
            if any(word.lower() in folder.name.lower() for word in words):
                return PSEUDONYM + sha256(os.fsencode(folder.name)).hexdigest()[:10]
            return folder.name
    return folder.name


def without_patient(text: str, header: pydicom.Dataset) -> str:
    """A text that somebody made up, such as a structure's name, without the patient's name and id in it."""
    for word in _words(header):
        text = re.sub(re.escape(word), "...", text, flags=re.IGNORECASE)
    return text


def _words(header: pydicom.Dataset) -> list[str]:
    """Name and id of a patient, longest first; not what is so short that it stands everywhere."""
    with without_comment():
        words = [str(header.get("PatientID", ""))]
        words += str(header.get("PatientName", "")).replace("^", " ").replace("=", " ").split()
    return sorted((word for word in words if len(word) > 2), key=len, reverse=True)


def without_folder_name(text: str, item: Mapping[str, Any]) -> str:
    """A message on a case with a pseudonym, in which the name of its folder is the pseudonym too."""
    case = str(item.get("case", ""))
    # The folder that was given, or the one that it was converted from.
    name = os.path.basename(str(item.get("source", item.get("image", ""))))
    return text.replace(name, case) if _renamed(case, name) else text


def tell_renamed(items: Sequence[Mapping[str, Any]]) -> None:
    """Say, without a name, that cases have pseudonyms."""
    renamed = sum(_renamed(str(i["case"]), os.path.basename(str(i.get("source", i["image"])))) for i in items)
    if renamed:
        logger.info(
            "%d of %d folders are named after their patients: those cases are called %s...",
            renamed,
            len(items),
            PSEUDONYM,
        )


def _renamed(case: str, name: str) -> bool:
    return bool(name) and case == PSEUDONYM + sha256(os.fsencode(name)).hexdigest()[:10]
