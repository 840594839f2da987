# SPDX-License-Identifier: Apache-2.0
"""What all DICOM objects that this package writes have in common."""

from __future__ import annotations

import datetime
import math
import os
from collections.abc import Iterable
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

import ctan_networks
from ctan_networks.errors import DataError
from ctan_networks.utils import result_path

__all__ = ["base_dataset", "carry_text", "decimal", "decimals", "frame_of_reference", "new_uid", "save"]

RESEARCH_ONLY = "RESEARCH ONLY, not for clinical use"
MAKER = "ctan-networks"
# Longest value of the value representation LO (PS3.5 6.2).
TEXT = 64
# Patient and study of the input (DICOM PS3.3 C.7.1.1, C.7.2.1): attributes of type 2 are there even when empty.
CARRIED = (
    "SpecificCharacterSet",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
)
REQUIRED = tuple(name for name in CARRIED if name not in ("SpecificCharacterSet", "StudyDescription"))


def new_uid(*entropy: object) -> str:
    """A new UID: the same one for the same ``entropy``, a random one without."""
    return str(generate_uid(entropy_srcs=[str(part) for part in entropy]) if entropy else generate_uid())


def decimal(value: float) -> str:
    """A number as a decimal string (DS) of at most 16 characters, with as many digits as fit.

    Raises:
        ValueError: when it is not finite.

    """
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} cannot be written as a decimal string")
    if number.is_integer() and abs(number) < 1e15:
        return str(int(number))
    if len(repr(number)) <= 16:
        return repr(number)
    for digits in range(16, 0, -1):
        text = f"{number:.{digits}g}"
        if len(text) <= 16:
            return text
    raise ValueError(f"{number} does not fit into 16 characters")


def decimals(values: object) -> list[str]:
    """Numbers as decimal strings."""
    return [decimal(v) for v in values]  # type: ignore[attr-defined]


def frame_of_reference(header: Dataset) -> str:
    """FrameOfReferenceUID of a slice, or one made from its series.

    Everything that is written for one CT must name the same frame, also where the CT was exported without one.
    """
    given, series = header.get("FrameOfReferenceUID"), header.get("SeriesInstanceUID")
    return str(given) if given else new_uid(series, "frame") if series else ""


def carry_text(data: Dataset, names: Iterable[str], where: str | os.PathLike) -> None:
    """See to it that names can be stored: the right length, no delimiter, a character set that has their letters.

    Args:
        data: data set that the names go into; its SpecificCharacterSet is changed to UTF-8 where it must be.
        names: for attributes of the value representation LO.
        where: what errors name.

    Raises:
        DataError: when a name is empty, longer than 64 characters or holds a backslash, which parts values in DICOM.

    """
    for name in names:
        if not name.strip() or len(name) > TEXT or "\\" in name:
            raise DataError(
                f"{where}: {name!r} cannot be a name in DICOM, which takes 1 to {TEXT} characters and no backslash."
                " Rename the structure."
            )
        if not name.isascii():
            # The input's set, such as ISO_IR 100, need not have the letters; UTF-8 has those of the input too.
            data.SpecificCharacterSet = "ISO_IR 192"


def base_dataset(
    sop_class: str, modality: str, reference: Dataset | None, uid: str, series_description: str, date: str | None = None
) -> Dataset:
    """A data set with the modules patient, study, series, equipment, frame of reference and SOP common.

    Args:
        sop_class: its UID.
        modality: such as "RTDOSE".
        reference: header of the input, from which patient, study and frame of reference are taken; None: left empty,
            with a new study and frame of reference.
        uid: SOPInstanceUID.
        series_description: text of at most 64 characters.
        date: "YYYYMMDDhhmmss" of the writing; None: now.

    """
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    data.file_meta.MediaStorageSOPInstanceUID = UID(uid)
    data.SOPClassUID, data.SOPInstanceUID = sop_class, uid
    for name in CARRIED:
        value = reference.get(name) if reference is not None else None
        if name == "FrameOfReferenceUID" and reference is not None:
            value = frame_of_reference(reference) or None
        if value is not None or name in REQUIRED:
            setattr(data, name, "" if value is None else value)
    for name in ("StudyInstanceUID", "FrameOfReferenceUID"):
        if not data.get(name):
            setattr(data, name, new_uid(uid, name))
    if "SpecificCharacterSet" not in data:
        data.SpecificCharacterSet = "ISO_IR 192"
    stamp = date or datetime.datetime.now().strftime("%Y%m%d%H%M%S")
    data.Modality = modality
    data.SeriesInstanceUID = new_uid(uid, "series")
    data.SeriesNumber = 1
    data.SeriesDescription = series_description[:TEXT]
    data.SeriesDate = data.InstanceCreationDate = data.ContentDate = stamp[:8]
    data.SeriesTime = data.InstanceCreationTime = data.ContentTime = stamp[8:]
    data.OperatorsName = ""
    data.InstanceNumber = 1
    data.Manufacturer = MAKER
    data.ManufacturerModelName = MAKER
    data.SoftwareVersions = ctan_networks.__version__
    return data


def save(data: Dataset, path: str | os.PathLike) -> Path:
    """Write a data set as a DICOM file, whole or not at all."""
    target = Path(path)
    with result_path(target) as temporary:
        pydicom.dcmwrite(temporary, data, enforce_file_format=True)
    return target
