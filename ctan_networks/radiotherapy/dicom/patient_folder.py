# SPDX-License-Identifier: Apache-2.0
"""What belongs together in a patient's folder: objects are matched by their UIDs, whatever the files are called."""

from __future__ import annotations

import logging
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
from ctan_networks.radiotherapy.dicom.elements import items, number, read_dicom, read_header, read_known, text
from ctan_networks.radiotherapy.dicom.rtstruct import referenced_series
from ctan_networks.reading import walk_folder

__all__ = ["PatientObjects", "TreatmentPlan", "read_treatment_plan", "scan_folder"]

logger = logging.getLogger(__name__)

CT_IMAGES = (CTImageStorage, EnhancedCTImageStorage)
# What of a header the matching needs; the rest of it is read when the object is used.
NEEDED = ("Modality", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "ImageType")
Read = Sequence[tuple[Path, Any]]
# Above all external-beam and brachytherapy prescriptions; cGy taken for Gy is not.
MAX_PRESCRIPTION_GY = 1000.0


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

    """

    folder: Path
    ct: dict[str, list[Path]] = field(default_factory=dict)
    structure_sets: list[Path] = field(default_factory=list)
    doses: list[Path] = field(default_factory=list)
    plans: list[Path] = field(default_factory=list)
    other: dict[str, int] = field(default_factory=dict)
    damaged: list[Path] = field(default_factory=list)

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
        doses: RTDOSE files to be summed, with their headers; may be empty.
        plan: RTPLAN and its file; None where there is none.
        prescription: prescribed dose in Gy that the plan states for its targets (the highest); None: not stated.

    """

    ct: CTSeries
    structure_set: tuple[Path, pydicom.Dataset] | None
    doses: tuple[tuple[Path, pydicom.Dataset], ...]
    plan: tuple[Path, pydicom.Dataset] | None
    prescription: float | None


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
    return found


def _kind(header: pydicom.Dataset) -> UID:
    return UID(str(header.file_meta.get("MediaStorageSOPClassUID", "")))


def read_treatment_plan(objects: PatientObjects, need_structures: bool = True, need_dose: bool = True) -> TreatmentPlan:
    """Choose the CT series of a folder and the structures, doses and plan that belong to it.

    The CT is the one series that is there (localizers do not count), or of several the one on which structures were
    drawn. Structure sets count when they name that series, or name none and lie in its frame of reference; doses and
    plans when they lie in its frame of reference. Of several structure sets the plan's is taken, else the latest. A
    plan's total dose is taken if there is one, else its doses a beam are summed.

    Args:
        objects: of the folder.
        need_structures: refuse a folder without structures for the CT.
        need_dose: refuse one without dose.

    Raises:
        DataError: names the folder, what was found in it, and what to do.

    """
    refuse_damaged(objects.damaged)
    where = f"{objects.folder} ({objects.summary()})"
    structure_sets = [(file, read_dicom(file)) for file in objects.structure_sets]
    ct = _choose_series(where, objects, structure_sets)
    fitting = [(file, data) for file, data in structure_sets if _was_drawn_on(file, data, ct)]
    if structure_sets and not fitting:
        raise DataError(
            f"{where}: no structure set was drawn on this CT series; they name other images. Export the structures"
            " together with the CT that they were drawn on."
        )
    if need_structures and not fitting:
        raise DataError(f"{where}: no structures. Export the structure set (RTSTRUCT) with the CT.")
    if fitting and not is_axial(ct):
        raise DataError(f"{where}: the CT series is not axial. Give the axial planning CT, without gantry tilt.")
    frame = ct.frame_of_reference
    plans = [(file, read_dicom(file)) for file in objects.plans]
    plans = [(file, data) for file, data in plans if text(file, data, "FrameOfReferenceUID") in ("", frame)]
    doses = [(file, read_known(file)) for file in objects.doses]
    elsewhere = [file for file, data in doses if text(file, data, "FrameOfReferenceUID") != frame]
    doses = [(file, data) for file, data in doses if text(file, data, "FrameOfReferenceUID") == frame]
    if elsewhere and not doses:
        raise DataError(
            f"{where}: the dose lies in another frame of reference than the CT. Export the dose that was computed on"
            " this CT."
        )
    chosen, plan_uid = _choose_doses(where, doses)
    if need_dose and not chosen:
        raise DataError(f"{where}: no dose. Export the plan's dose (RTDOSE) with the CT.")
    plan = next((p for p in plans if text(*p, "SOPInstanceUID") == plan_uid), None)
    if plan is None and len(plans) == 1 and plan_uid is None:
        plan = plans[0]
    return TreatmentPlan(
        ct=ct,
        structure_set=_choose_structures(where, fitting, plan),
        doses=tuple(chosen),
        plan=plan,
        prescription=_prescription(*plan) if plan else None,
    )


def read_ct(objects: PatientObjects) -> CTSeries:
    """The CT series of a folder alone, chosen as :py:func:`read_treatment_plan` chooses it.

    Raises:
        DataError: names the folder, what was found in it, and what to do.

    """
    refuse_damaged(objects.damaged)
    where = f"{objects.folder} ({objects.summary()})"
    several = len(objects.ct) > 1
    structure_sets = [(file, read_dicom(file)) for file in objects.structure_sets] if several else []
    return _choose_series(where, objects, structure_sets)


def plan_prescriptions(folder: str | os.PathLike) -> list[float]:
    """Prescribed doses in Gy that the plans in a folder state; what cannot be read is passed over."""
    stated = set()
    for file in _files(Path(folder)):
        # Of patients as NIfTI nothing need be opened.
        if not file.is_file() or file.name.endswith((".nii", ".nii.gz")):
            continue
        try:
            plan = read_header(file, ["Modality", "DoseReferenceSequence"])
            if plan.get("Modality") == "RTPLAN":
                stated.add(_prescription(file, plan))
        except Exception:  # noqa: BLE001  what is no plan, or a damaged one, does not matter here
            continue
    return sorted(dose for dose in stated if dose is not None)


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, files in walk_folder(folder):
        for name in files:
            if name != "DICOMDIR" and not name.startswith("."):
                yield Path(parent) / name


def _choose_series(where: str, objects: PatientObjects, structure_sets: Read) -> CTSeries:
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
    files = objects.ct[uids[0]]
    return make_series(objects.folder, files, [read_known(file) for file in files])


def _choose_doses(where: str, doses: Read) -> tuple[Read, str | None]:
    """The doses to be summed, and the plan that they belong to."""
    plans: dict[str, list[tuple[Path, Any]]] = {}
    for file, data in doses:
        references = items(file, data, "ReferencedRTPlanSequence")
        named = text(file, references[0], "ReferencedSOPInstanceUID") if references else ""
        plans.setdefault(named, []).append((file, data))
    if len(plans) > 1:
        raise DataError(
            f"{where}: doses of {len(plans)} plans: {', '.join(f.name for f, _ in doses)}. Leave those of one plan, or"
            " export the sum."
        )
    if not doses:
        return [], None
    uid, members = next(iter(plans.items()))
    kinds = [text(f, d, "DoseSummationType", "PLAN" if "DoseSummationType" not in d else "") for f, d in members]
    total = [member for member, kind in zip(members, kinds, strict=True) if kind in ("PLAN", "MULTI_PLAN")]
    if len(total) > 1:
        raise DataError(
            f"{where}: {len(total)} total doses of one plan: {', '.join(f.name for f, _ in total)}. Leave one of them."
        )
    parts = [member for member, kind in zip(members, kinds, strict=True) if kind == "BEAM"]
    if not total and not parts:
        named = ", ".join(sorted({kind[:40] for kind in kinds}))
        raise DataError(f"{where}: doses of the kind {named} are no dose of a plan. Export the plan's total dose.")
    return total or parts, uid or None


def _was_drawn_on(file: Path, structure_set: pydicom.Dataset, ct: CTSeries) -> bool:
    named = referenced_series(structure_set, file)
    if named:
        return ct.uid in named
    frames = {
        text(file, frame, "FrameOfReferenceUID")
        for frame in items(file, structure_set, "ReferencedFrameOfReferenceSequence")
    }
    frames |= {
        text(file, roi, "ReferencedFrameOfReferenceUID")
        for roi in items(file, structure_set, "StructureSetROISequence")
    }
    return bool(ct.frame_of_reference) and ct.frame_of_reference in frames


def _choose_structures(
    where: str, fitting: Read, plan: tuple[Path, pydicom.Dataset] | None
) -> tuple[Path, pydicom.Dataset] | None:
    if len(fitting) <= 1:
        return fitting[0] if fitting else None
    references = items(*plan, "ReferencedStructureSetSequence") if plan else []
    wanted = {text(where, reference, "ReferencedSOPInstanceUID") for reference in references} - {""}
    chosen = next(((file, data) for file, data in fitting if text(file, data, "SOPInstanceUID") in wanted), None)
    if chosen is not None:
        return chosen
    latest = max(fitting, key=lambda s: tuple(text(s[0], s[1], f"StructureSet{part}") for part in ("Date", "Time")))
    # The folder may be named after the patient.
    logger.warning("%d structure sets of one CT; the latest is taken: %s", len(fitting), latest[0].name)
    return latest


def _prescription(file: Path, plan: pydicom.Dataset) -> float | None:
    doses = [
        number(file, reference, "TargetPrescriptionDose")
        for reference in items(file, plan, "DoseReferenceSequence")
        if text(file, reference, "DoseReferenceType") == "TARGET"
    ]
    stated = [dose for dose in doses if dose is not None]
    if stated and not 0 < max(stated) <= MAX_PRESCRIPTION_GY:
        raise DataError(f"{file}: the plan states a prescription of {max(stated):g} Gy. Export the plan again.")
    return max(stated) if stated else None
