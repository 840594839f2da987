# SPDX-License-Identifier: Apache-2.0
"""Find the patient's name and id in the names of folders and structures."""

from __future__ import annotations

import re
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

from ctan_networks.data.pseudonyms import pseudonym
from ctan_networks.radiotherapy.dicom.elements import read_header, without_comment
from ctan_networks.reading import walk_folder

__all__ = ["case_of_folder", "without_patient"]

PATIENT_TAGS = ["PatientName", "PatientID"]


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
                return pseudonym(folder.name)
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
