# SPDX-License-Identifier: Apache-2.0
"""What belongs together in a patient's folder: objects are matched by their UIDs, whatever the files are called."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, CTImageStorage, EnhancedCTImageStorage

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.ct_series import CTSeries, is_axial, make_series, refuse_damaged
from ctan_networks.radiotherapy.dicom.elements import read_dicom, read_header, read_known, text
from ctan_networks.radiotherapy.dicom.identity import PATIENT_TAGS, PatientIdentity, refuse_several_patients
from ctan_networks.radiotherapy.dicom.plan_dose import (
    PlannedDose,
    choose_planned_dose,
    choose_prescription,
    each_once,
)
from ctan_networks.radiotherapy.dicom.prescription import Prescription
from ctan_networks.radiotherapy.dicom.rtstruct import referenced_series
from ctan_networks.radiotherapy.dicom.structure_sets import choose_structures, was_drawn_on
from ctan_networks.reading import walk_folder

__all__ = ["PatientObjects", "TreatmentPlan", "read_ct", "read_prescription", "read_treatment_plan", "scan_folder"]

CT_IMAGES = (CTImageStorage, EnhancedCTImageStorage)
# What of a header the matching needs; the rest of it is read when the object is used.
NEEDED = ("Modality", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "ImageType", *PATIENT_TAGS)
Read = Sequence[tuple[Path, Any]]


@dataclass
class PatientObjects:
    """The DICOM objects of a folder and its sub-folders.

    Attributes:
        folder: the folder.
        ct: files of each CT series, by SeriesInstanceUID.
        structure_sets: RTSTRUCT files.
        doses: RTDOSE files.
        plans: RTPLAN files.
        other: number of other objects (images of other modalities, records ...), by modality.
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
        series = ", ".join(f"one of {len(files)} slices" for files in self.ct.values())
        counts = [f"{len(self.ct)} CT series ({series})" if self.ct else "no CT series"]
        counts += [
            f"{len(files)} {name}"
            for name, files in (("RTSTRUCT", self.structure_sets), ("RTDOSE", self.doses), ("RTPLAN", self.plans))
        ]
        counts += [f"{count} {modality}" for modality, count in sorted(self.other.items())]
        return ", ".join(counts)


@dataclass(frozen=True, eq=False)
class TreatmentPlan:
    """A CT series with what was planned on it.

    Attributes:
        ct: the series.
        structure_set: RTSTRUCT and its file; None where there is none.
        dose: RTDOSE objects to be summed, the plans that they are of, and what these prescribe.

    """

    ct: CTSeries
    structure_set: tuple[Path, pydicom.Dataset] | None
    dose: PlannedDose

    @property
    def plan(self) -> tuple[Path, pydicom.Dataset] | None:
        """RTPLAN and its file; None where there is none, or the dose is of several."""
        return self.dose.plans[0] if len(self.dose.plans) == 1 else None

    @property
    def doses(self) -> tuple[tuple[Path, pydicom.Dataset], ...]:
        """RTDOSE files to be summed, with their headers; may be empty."""
        return self.dose.doses

    @property
    def prescription(self) -> float | None:
        """Prescribed dose in Gy: the highest of the plan's targets, or the sum of several plans; None: not known."""
        return self.dose.prescription.gray


def scan_folder(folder: str | os.PathLike) -> PatientObjects:
    """Find the DICOM objects in a folder and its sub-folders; other files are passed over.

    Symbolic links to folders are not followed.

    Args:
        folder: the folder.

    Raises:
        DataError: when it is not there.

    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{root} is no folder. Give the folder of one patient.")
    found = PatientObjects(root)
    for file in _files(root):
        if not file.is_file():
            # Not waiting for pipes; a link to nothing is what cannot be read.
            found.damaged += [] if file.exists() else [file]
            continue
        try:
            header = read_header(file, NEEDED)
            modality, series = str(header.get("Modality", "")), header.get("SeriesInstanceUID")
            kind, localizer = _kind(header), "LOCALIZER" in (header.get("ImageType") or ())
        except InvalidDicomError:
            continue
        except Exception:  # noqa: BLE001  pydicom raises whatever the place of a cut leads to
            found.damaged.append(file)
            continue
        if modality == "CT" and localizer:
            found.other["CT localizer"] = found.other.get("CT localizer", 0) + 1
        elif modality == "CT" and series:
            found.ct.setdefault(str(series), []).append(file)
        elif modality == "RTSTRUCT":
            found.structure_sets.append(file)
        elif modality == "RTDOSE":
            found.doses.append(file)
        elif modality == "RTPLAN":
            found.plans.append(file)
        elif modality:
            found.other[modality] = found.other.get(modality, 0) + 1
        elif kind in CT_IMAGES:
            found.damaged.append(file)
        if modality:
            found.patients.setdefault(PatientIdentity.read(file, header), file)
    return found


def _kind(header: pydicom.Dataset) -> UID:
    return UID(str(header.file_meta.get("MediaStorageSOPClassUID", "")))


def read_treatment_plan(
    objects: PatientObjects, need_structures: bool = True, need_dose: bool | None = True
) -> TreatmentPlan:
    """Choose the CT series of a folder and the structures, doses and plan that belong to it.

    The CT is the one series that is there (localizers do not count), or of several the one on which structures were
    drawn. Structure sets count when they name that series, or name none and lie in its frame of reference; doses and
    plans when they lie in its frame of reference. Of several structure sets the plan's is taken, else the latest; see
    :py:func:`ctan_networks.radiotherapy.dicom.structure_sets.choose_structures`. A
    plan's total dose is taken if there is one, else its doses a beam are summed.

    Args:
        objects: of the folder.
        need_structures: refuse a folder without structures for the CT.
        need_dose: refuse one without dose; None: leave doses aside, whatever they are.

    Raises:
        DataError: names the folder, what was found in it, and what to do.

    """
    where = _checked(objects)
    structure_sets = each_once([(file, read_dicom(file)) for file in objects.structure_sets])
    ct = _as_series(objects, _choose_series(where, objects, structure_sets))
    fitting = [(file, data) for file, data in structure_sets if was_drawn_on(file, data, ct)]
    if structure_sets and not fitting:
        raise DataError(
            f"{where}: no structure set was drawn on this CT series; they name other images. Export the structures"
            " together with the CT that they were drawn on."
        )
    if need_structures and not fitting:
        raise DataError(f"{where}: no structures. Export the structure set (RTSTRUCT) with the CT.")
    if fitting and not is_axial(ct):
        raise DataError(f"{where}: the CT series is not axial. Give the axial planning CT, without gantry tilt.")
    plans = [(file, read_dicom(file)) for file in objects.plans]
    doses = [(file, read_known(file)) for file in objects.doses] if need_dose is not None else []
    dose = choose_planned_dose(where, doses, plans, ct.frame_of_reference)
    if need_dose and not dose.doses:
        raise DataError(f"{where}: no dose. Export the plan's dose (RTDOSE) with the CT.")
    plan = dose.plans[0] if len(dose.plans) == 1 else None
    return TreatmentPlan(ct=ct, structure_set=choose_structures(where, fitting, plan), dose=dose)


def read_ct(objects: PatientObjects) -> CTSeries:
    """The CT series of a folder alone, chosen as :py:func:`read_treatment_plan` chooses it.

    Raises:
        DataError: names the folder, what was found in it, and what to do.

    """
    where = _checked(objects)
    return _as_series(objects, _series_alone(where, objects))


def read_prescription(objects: PatientObjects) -> tuple[Prescription, Path | None]:
    """What the plan of a folder's CT prescribes, where structures and dose are not needed.

    Args:
        objects: of the folder.

    Returns:
        The prescription; and the file of the plan's total dose, where that is there.

    Raises:
        DataError: when the objects contradict each other or do not tell what belongs together.

    """
    where = _checked(objects)
    if not objects.plans:
        return Prescription(None, "there is no plan"), None
    first = _series_alone(where, objects)[0]
    plans = [(file, read_dicom(file)) for file in objects.plans]
    doses = [(file, read_known(file)) for file in objects.doses]
    frame = text(first, read_known(first), "FrameOfReferenceUID")
    prescription, total = choose_prescription(where, doses, plans, frame)
    return prescription, None if total is None else total[0]


def _series_alone(where: str, objects: PatientObjects) -> list[Path]:
    several = len(objects.ct) > 1
    structure_sets = [(file, read_dicom(file)) for file in objects.structure_sets] if several else []
    return _choose_series(where, objects, structure_sets)


def _as_series(objects: PatientObjects, files: list[Path]) -> CTSeries:
    return make_series(objects.folder, files, [read_known(file) for file in files])


def _checked(objects: PatientObjects) -> str:
    """What errors name, once it is clear that nothing is damaged and all is of one patient."""
    refuse_damaged(objects.damaged)
    where = f"{objects.folder} ({objects.summary()})"
    refuse_several_patients(where, objects.patients.items())
    return where


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, files in walk_folder(folder):
        for name in files:
            if name != "DICOMDIR" and not name.startswith("."):
                yield Path(parent) / name


def _choose_series(where: str, objects: PatientObjects, structure_sets: Read) -> list[Path]:
    """Files of the series."""
    if not objects.ct:
        raise DataError(f"{where}: no CT images. Give the folder of one patient with the planning CT in DICOM.")
    uids = list(objects.ct)
    if len(uids) > 1:
        named = {uid for file, data in structure_sets for uid in referenced_series(data, file)} & set(uids)
        if len(named) != 1:
            raise DataError(
                f"{where}: {len(uids)} CT series, and {'structures on several' if named else 'no structure set tells'}"
                f"{' of them' if named else ' which one to take'}. Leave one CT series in the folder."
            )
        uids = list(named)
    return objects.ct[uids[0]]
