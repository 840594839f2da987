# SPDX-License-Identifier: Apache-2.0
"""The DICOM objects in a folder, each by what its header says that it is, whatever its file is called."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.elements import read_header, without_comment
from ctan_networks.radiotherapy.dicom.identity import PATIENT_TAGS, PatientIdentity
from ctan_networks.reading import walk_folder

__all__ = ["RADIOTHERAPY", "DicomObject", "PatientObjects", "dicom_objects", "kind_of", "scan_folder"]

CT_IMAGES = (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
RADIOTHERAPY = ("RTSTRUCT", "RTDOSE", "RTPLAN")
# Values of ImageType (PS3.3 C.8.2.1.1.1, and what vendors add) of images that are no slices: projections, and texts.
SCOUTS = {"LOCALIZER", "SCOUT", "SURVIEW", "TOPOGRAM", "SCANOGRAM"}
SCREENS = {"SCREEN SAVE", "DOSE_INFO", "DOSE REPORT"}
COLOURS = 3
# What of a header the matching needs; the rest of it is read when the object is used.
NEEDED = ("Modality", "SOPClassUID", "ImageType", "SamplesPerPixel", "SeriesInstanceUID", "SOPInstanceUID")


@dataclass
class PatientObjects:
    """The DICOM objects of a folder and its sub-folders.

    Attributes:
        folder: the folder.
        ct: files of each CT series, by SeriesInstanceUID.
        structure_sets: RTSTRUCT files.
        doses: RTDOSE files.
        plans: RTPLAN files.
        other: number of other objects (images of other modalities, records ...), by what they are.
        damaged: files that look like DICOM and cannot be read.
        patients: who the objects' patients are, each with a file that says so.

    """

    folder: Path
    ct: dict[str, list[Path]] = field(default_factory=dict)
    structure_sets: list[Path] = field(default_factory=list)
    doses: list[Path] = field(default_factory=list)
    plans: list[Path] = field(default_factory=list)
    other: dict[str, int] = field(default_factory=dict)
    damaged: list[Path] = field(default_factory=list)
    patients: dict[PatientIdentity, Path] = field(default_factory=dict)

    def summary(self) -> str:
        """What was found, in one line."""
        series = ", ".join(f"one of {len(files)} files" for files in self.ct.values())
        counts = [f"{len(self.ct)} CT series ({series})" if self.ct else "no CT series"]
        counts += [
            f"{len(files)} {name}"
            for name, files in (("RTSTRUCT", self.structure_sets), ("RTDOSE", self.doses), ("RTPLAN", self.plans))
        ]
        counts += [f"{count} {kind}" for kind, count in sorted(self.other.items())]
        return ", ".join(counts)


class DicomObject(NamedTuple):
    """A DICOM file, with as much of its header as was asked for.

    Attributes:
        file: its path.
        kind: see :py:func:`kind_of`.
        header: without pixels; None where the file is damaged, empty or a link to nothing.

    """

    file: Path
    kind: str
    header: pydicom.Dataset | None


def scan_folder(folder: str | os.PathLike) -> PatientObjects:
    """Find the DICOM objects in a folder and its sub-folders; other files are ignored.

    Symbolic links to folders are not followed.

    Args:
        folder: a patient's folder; or one DICOM file, such as an enhanced (multi-frame) CT image.

    Raises:
        DataError: when it is not there.

    """
    root = Path(folder)
    if not root.exists():
        raise DataError(f"{root} is not there. Give the folder of one patient.")
    found = PatientObjects(root)
    lists = {"RTSTRUCT": found.structure_sets, "RTDOSE": found.doses, "RTPLAN": found.plans}
    empty: list[Path] = []
    for file, kind, header in dicom_objects(root, PATIENT_TAGS):
        if header is None:
            (empty if _is_empty(file) else found.damaged).append(file)
            continue
        series = str(header.get("SeriesInstanceUID") or "")
        if not kind or (kind == "CT" and not series):
            sop_class = UID(str(header.file_meta.get("MediaStorageSOPClassUID", "")))
            # Without a modality it may be a cut slice, but not where it says that it is a DICOMDIR or the like.
            if sop_class in CT_IMAGES or sop_class.type != "SOP Class":
                found.damaged.append(file)
            continue
        if kind == "CT":
            found.ct.setdefault(series, []).append(file)
        elif kind in lists:
            lists[kind].append(file)
        else:
            found.other[kind] = found.other.get(kind, 0) + 1
        found.patients.setdefault(PatientIdentity.read(file, header), file)
    # An empty file beside slices, and named as they are, was one of them; others are markers of some program.
    slices = {(file.parent, file.suffix) for files in found.ct.values() for file in files}
    found.damaged += [file for file in empty if (file.parent, file.suffix) in slices]
    return found


def dicom_objects(root: Path, tags: Sequence[str] = (), below: bool = True) -> Iterator[DicomObject]:
    """The DICOM files of a folder, in the order of their names.

    Args:
        root: the folder, or a single file.
        tags: keywords of further elements that the headers shall have.
        below: look into sub-folders too.

    """
    for file in _files(root, below):
        if not file.is_file():
            # Not waiting for pipes.
            if not file.exists():
                yield DicomObject(file, "", None)
            continue
        try:
            header = read_header(file, (*NEEDED, *tags))
            with without_comment():
                kind = kind_of(header)
                header.get("SeriesInstanceUID")
        except InvalidDicomError:
            if _is_empty(file):
                yield DicomObject(file, "", None)
        except Exception:  # noqa: BLE001  pydicom raises whatever the place of a cut leads to
            yield DicomObject(file, "", None)
        else:
            yield DicomObject(file, kind, header)


def kind_of(header: pydicom.Dataset) -> str:
    """What an object is: "CT" for what belongs to a CT volume, else its modality or class; empty if it does not say.

    Modality alone does not tell: scouts, dose reports and screenshots of a CT scanner have Modality CT, too.

    Args:
        header: with Modality, SOPClassUID, ImageType and SamplesPerPixel, as far as they are there.

    """
    modality = str(header.get("Modality") or "")
    if modality != "CT":
        # Nothing that a header holds in place of a modality is repeated.
        return modality if modality.isalnum() and len(modality) <= 16 else modality and "object of unknown modality"
    words = header.get("ImageType") or ()
    types = {str(word).strip().upper() for word in ([words] if isinstance(words, str) else words)}
    sop_class = UID(str(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID", "")))
    if types & SCOUTS:
        return "CT localizer"
    if sop_class.type == "SOP Class" and sop_class not in CT_IMAGES:
        return sop_class.name
    return "CT screenshot" if types & SCREENS or header.get("SamplesPerPixel") == COLOURS else "CT"


def _is_empty(file: Path) -> bool:
    try:
        return file.is_file() and file.stat().st_size == 0
    except OSError:
        # It has gone since the folder was listed.
        return False


def _files(root: Path, below: bool) -> Iterator[Path]:
    if not root.is_dir():
        yield root
        return
    for parent, folders, files in walk_folder(root):
        for name in files:
            if name != "DICOMDIR" and not name.startswith("."):
                yield Path(parent) / name
        if not below:
            folders.clear()
