# SPDX-License-Identifier: Apache-2.0
"""Whether DICOM objects belong to one patient."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import pydicom

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.elements import text

__all__ = ["PATIENT_TAGS", "PatientIdentity", "refuse_several_patients"]

PATIENT_TAGS = ("PatientID", "PatientName", "PatientBirthDate")


class PatientIdentity(NamedTuple):
    """Who an object says that its patient is, in a form that can be compared; empty where it does not say.

    Attributes:
        number: PatientID without case and outer spaces.
        words: of PatientName, without case and order.
        birth: PatientBirthDate, if it is a date.

    """

    number: str
    words: frozenset[str]
    birth: str

    @classmethod
    def read(cls, file: str | os.PathLike, header: pydicom.Dataset) -> PatientIdentity:
        """From a header with :py:data:`PATIENT_TAGS`; what cannot be read counts as not stated."""
        number, name, birth = (_comparable(file, header, tag) for tag in PATIENT_TAGS)
        words = frozenset(re.findall(r"\w+", name.replace("_", " ")))
        return cls(number, words, birth if re.fullmatch(r"\d{8}", birth) else "")

    def differs(self, other: PatientIdentity) -> str:
        """The attribute by which the two are different people; empty where nothing says so.

        With the same PatientID a name may be written in another way, or have changed in part; without one, one of the
        names must hold the other.
        """
        same_number = bool(self.number) and self.number == other.number
        if self.number and other.number and not same_number:
            return "PatientID"
        if self.birth and other.birth and self.birth != other.birth:
            return "PatientBirthDate"
        common = self.words & other.words
        shorter = min((self.words, other.words), key=len)
        if shorter and (not common if same_number else common != shorter):
            return "PatientName"
        return ""


def refuse_several_patients(where: str | os.PathLike, identities: Iterable[tuple[PatientIdentity, Path]]) -> None:
    """Refuse objects of different patients in one folder.

    Args:
        where: the folder, for the message.
        identities: each that was found, with a file that has it.

    Raises:
        DataError: names two files and the attribute in which they differ, not its values.

    """
    for (one, file), (another, second) in combinations(identities, 2):
        if attribute := one.differs(another):
            common = os.path.commonpath([file.parent, second.parent])
            names = " and ".join(os.path.relpath(path, common) for path in (file, second))
            raise DataError(
                f"{where}: files of two patients: {names} differ in {attribute}. Give each patient a folder of its own."
            )


def _comparable(file: str | os.PathLike, header: pydicom.Dataset, tag: str) -> str:
    try:
        return text(file, header, tag).strip().casefold()
    except DataError:
        return ""
