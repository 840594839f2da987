# SPDX-License-Identifier: Apache-2.0
"""Patients in DICOM: which folder is one's, which one holds folders of several, and how one lay on the table."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import pydicom

from ctan_networks.data.case_list import visible
from ctan_networks.radiotherapy.dicom.ct_series import CTSeries
from ctan_networks.radiotherapy.dicom.elements import items, text
from ctan_networks.radiotherapy.dicom.identity import PATIENT_TAGS, PatientIdentity
from ctan_networks.radiotherapy.dicom.scan import RADIOTHERAPY, DicomObject, dicom_objects
from ctan_networks.radiotherapy.nifti_patient import is_nifti_patient
from ctan_networks.reading import walk_folder

__all__ = ["holds_ct", "is_patient_folder", "warn_of_position"]

logger = logging.getLogger(__name__)

# PatientPosition behind "head first" or "feet first".
POSITIONS = {"P": "prone", "DL": "on the left side", "DR": "on the right side"}
# What ties objects together that were made for one patient on one occasion.
TIES = ("StudyInstanceUID", "FrameOfReferenceUID", "ReferencedFrameOfReferenceSequence")


class Contents(NamedTuple):
    """What lies in a folder, by one object of each of its folders.

    Attributes:
        ct: whether CT slices are there.
        plan: whether structures, doses or plans are there.
        ties: UIDs of the studies and frames of reference.
        patient: of the first object.
        instance: SOPInstanceUID of the first CT slice.

    """

    ct: bool
    plan: bool
    ties: frozenset[str]
    patient: PatientIdentity
    instance: str

    def belongs_to(self, other: Contents) -> bool:
        """Whether both are one patient's; two CTs must be of one study or frame of reference, and not copies."""
        if self.ct and other.ct and (self.patient.differs(other.patient) or self.instance == other.instance != ""):
            return False
        if self.ties & other.ties:
            return True
        return not (self.ct and other.ct) and bool(self.patient.number) and not self.patient.differs(other.patient)


def holds_ct(folder: Path) -> bool:
    """Whether slices of a CT lie in a folder or below it; scouts and dose reports are none."""
    return any(kind == "CT" and "SeriesInstanceUID" in (header or ()) for _, kind, header in dicom_objects(folder))


def is_patient_folder(folder: Path, below: bool = True) -> bool:
    """Whether a folder is one patient's, with objects in it or in several sub-folders, and no folder of patients.

    Sub-folders are one patient's when their CTs share a study or a frame of reference, or structures, doses or plans
    lie apart from them in a sub-folder of its own; and these share one with a CT, or have its PatientID. A folder with
    one sub-folder is a folder of one patient.

    Args:
        folder: the folder.
        below: whether objects in sub-folders may make it one.

    """
    if any(kind == "CT" or kind in RADIOTHERAPY for _, kind, _ in dicom_objects(folder, below=False)):
        return True
    found: list[Contents] = []
    for child in visible(folder) if below else ():
        contents = _contents(child) if child.is_dir() else None
        if child.is_dir() and is_nifti_patient(child):
            return False
        if contents is None:
            continue
        # Of a folder of many patients no more than two are looked at, unless they have one name.
        if contents.ct and any(c.ct and c.patient.differs(contents.patient) for c in found):
            return False
        found.append(contents)
    scans = [c for c in found if c.ct]
    if not scans:
        return False
    others = [c for c in found if not c.ct and any(c.belongs_to(scan) for scan in scans)]
    if any(c.plan and c not in others for c in found if not c.ct):
        return False
    of_one_study = all(scan.belongs_to(scans[0]) for scan in scans[1:])
    return len(scans) + len(others) > 1 and (of_one_study or any(c.plan for c in others))


def warn_of_position(ct: CTSeries, case: str) -> None:
    """Say it where a patient lay prone or on a side: the geometry is right, but organs lie as no network has seen them.

    Args:
        ct: the patient's CT, with PatientPosition (PS3.3 C.7.3.1.1.2) or else the orientation of its rows and columns.
        case: what the patient is called.

    """
    position = text(ct.files[0], ct.headers[0], "PatientPosition")
    lies = POSITIONS.get(position[2:]) if position else "prone" if ct.affine[1, 1] < 0 else None
    if lies is not None:
        logger.warning("case %s lies %s: networks trained on patients that lie supine may fail.", case, lies)


def _contents(folder: Path) -> Contents | None:
    found = [first for parent, _, _ in walk_folder(folder) if (first := _first(Path(parent))) is not None]
    headers = [(file, header) for file, _, header in found if header is not None]
    if not headers:
        return None
    kinds = {kind for _, kind, _ in found}
    return Contents(
        ct="CT" in kinds,
        plan=not kinds.isdisjoint(RADIOTHERAPY),
        ties=frozenset().union(*(_ties(file, header) for file, header in headers)),
        patient=PatientIdentity.read(*headers[0]),
        instance=next(
            (text(file, h, "SOPInstanceUID") for file, kind, h in found if kind == "CT" and h is not None), ""
        ),
    )


def _first(folder: Path) -> DicomObject | None:
    """The first slice, structure set, dose or plan in a folder; without one, the first object of another kind."""
    other = None
    for found in dicom_objects(folder, (*TIES, *PATIENT_TAGS), below=False):
        if found.kind == "CT" or found.kind in RADIOTHERAPY:
            return found
        other = other or (found if found.header is not None else None)
    return other


def _ties(file: Path, header: pydicom.Dataset) -> set[str]:
    frames = items(file, header, TIES[2])
    uids = [text(file, header, name) for name in TIES[:2]] + [text(file, frame, TIES[1]) for frame in frames]
    return set(uids) - {""}
