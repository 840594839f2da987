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

from ctan_networks.dicom.ct_series import CTSeries, is_axial, make_series, refuse_damaged
from ctan_networks.dicom.rtstruct import referenced_series
from ctan_networks.errors import DataError

__all__ = ["PatientObjects", "TreatmentPlan", "read_treatment_plan", "scan_folder"]

logger = logging.getLogger(__name__)

CT_IMAGES = (CTImageStorage, EnhancedCTImageStorage)
# What of a header the matching needs; the rest of it is read when the object is used.
NEEDED = ("Modality", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "ImageType")
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
        try:
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(NEEDED))
        except InvalidDicomError:
            continue
        except Exception:  # noqa: BLE001  pydicom raises whatever the place of a cut leads to
            found.damaged.append(file)
            continue
        modality, series = str(header.get("Modality", "")), header.get("SeriesInstanceUID")
        if modality == "CT" and "LOCALIZER" in (header.get("ImageType") or ()):
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
        elif UID(str(header.file_meta.get("MediaStorageSOPClassUID", ""))) in CT_IMAGES:
            found.damaged.append(file)
    return found


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
    structure_sets = [(file, pydicom.dcmread(file)) for file in objects.structure_sets]
    ct = _choose_series(where, objects, structure_sets)
    fitting = [(file, data) for file, data in structure_sets if _was_drawn_on(data, ct)]
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
    plans = [(file, pydicom.dcmread(file)) for file in objects.plans]
    plans = [(file, data) for file, data in plans if str(data.get("FrameOfReferenceUID", frame)) in ("", frame)]
    doses = [(file, pydicom.dcmread(file, stop_before_pixels=True)) for file in objects.doses]
    elsewhere = [file for file, data in doses if str(data.get("FrameOfReferenceUID", "")) != frame]
    doses = [(file, data) for file, data in doses if str(data.get("FrameOfReferenceUID", "")) == frame]
    if elsewhere and not doses:
        raise DataError(
            f"{where}: the dose lies in another frame of reference than the CT. Export the dose that was computed on"
            " this CT."
        )
    chosen, plan_uid = _choose_doses(where, doses)
    if need_dose and not chosen:
        raise DataError(f"{where}: no dose. Export the plan's dose (RTDOSE) with the CT.")
    plan = next((p for p in plans if str(p[1].SOPInstanceUID) == plan_uid), None)
    if plan is None and len(plans) == 1 and plan_uid is None:
        plan = plans[0]
    return TreatmentPlan(
        ct=ct,
        structure_set=_choose_structures(where, fitting, plan),
        doses=tuple(chosen),
        plan=plan,
        prescription=_prescription(plan[1]) if plan else None,
    )


def read_ct(objects: PatientObjects) -> CTSeries:
    """The CT series of a folder alone, chosen as :py:func:`read_treatment_plan` chooses it.

    Raises:
        DataError: names the folder, what was found in it, and what to do.

    """
    refuse_damaged(objects.damaged)
    where = f"{objects.folder} ({objects.summary()})"
    several = len(objects.ct) > 1
    structure_sets = [(file, pydicom.dcmread(file)) for file in objects.structure_sets] if several else []
    return _choose_series(where, objects, structure_sets)


def plan_prescriptions(folder: str | os.PathLike) -> list[float]:
    """Prescribed doses in Gy that the plans in a folder state; what cannot be read is passed over."""
    stated = set()
    for file in _files(Path(folder)):
        try:
            plan = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["Modality", "DoseReferenceSequence"])
        except Exception:  # noqa: BLE001  what is no plan does not matter here
            continue
        if plan.get("Modality") == "RTPLAN":
            stated.add(_prescription(plan))
    return sorted(dose for dose in stated if dose is not None)


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if name != "DICOMDIR" and not name.startswith("."):
                yield Path(parent) / name


def _choose_series(where: str, objects: PatientObjects, structure_sets: Read) -> CTSeries:
    if not objects.ct:
        raise DataError(f"{where}: no CT images. Give the folder of one patient with the planning CT in DICOM.")
    uids = list(objects.ct)
    if len(uids) > 1:
        named = {uid for _, data in structure_sets for uid in referenced_series(data)} & set(uids)
        if len(named) != 1:
            raise DataError(
                f"{where}: {len(uids)} CT series, and {'structures on several' if named else 'no structure set tells'}"
                f"{' of them' if named else ' which one to take'}. Leave one CT series in the folder."
            )
        uids = list(named)
    files = objects.ct[uids[0]]
    return make_series(objects.folder, files, [pydicom.dcmread(file, stop_before_pixels=True) for file in files])


def _choose_doses(where: str, doses: Read) -> tuple[Read, str | None]:
    """The doses to be summed, and the plan that they belong to."""
    plans: dict[str, list[tuple[Path, Any]]] = {}
    for file, data in doses:
        references = data.get("ReferencedRTPlanSequence") or []
        plans.setdefault(str(references[0].ReferencedSOPInstanceUID) if references else "", []).append((file, data))
    if len(plans) > 1:
        raise DataError(
            f"{where}: doses of {len(plans)} plans: {', '.join(f.name for f, _ in doses)}. Leave those of one plan, or"
            " export the sum."
        )
    if not doses:
        return [], None
    uid, members = next(iter(plans.items()))
    total = [(f, d) for f, d in members if str(d.get("DoseSummationType", "PLAN")) in ("PLAN", "MULTI_PLAN")]
    if len(total) > 1:
        raise DataError(
            f"{where}: {len(total)} total doses of one plan: {', '.join(f.name for f, _ in total)}. Leave one of them."
        )
    parts = [(f, d) for f, d in members if str(d.get("DoseSummationType", "")) == "BEAM"]
    if not total and not parts:
        kinds = ", ".join(sorted({str(d.get("DoseSummationType", "")) for _, d in members}))
        raise DataError(f"{where}: doses of the kind {kinds} are no dose of a plan. Export the plan's total dose.")
    return total or parts, uid or None


def _was_drawn_on(structure_set: pydicom.Dataset, ct: CTSeries) -> bool:
    named = referenced_series(structure_set)
    if named:
        return ct.uid in named
    frames = {
        str(f.get("FrameOfReferenceUID", "")) for f in structure_set.get("ReferencedFrameOfReferenceSequence") or []
    }
    frames |= {
        str(roi.get("ReferencedFrameOfReferenceUID", "")) for roi in structure_set.get("StructureSetROISequence") or []
    }
    return bool(ct.frame_of_reference) and ct.frame_of_reference in frames


def _choose_structures(
    where: str, fitting: Read, plan: tuple[Path, pydicom.Dataset] | None
) -> tuple[Path, pydicom.Dataset] | None:
    if len(fitting) <= 1:
        return fitting[0] if fitting else None
    references = (plan[1].get("ReferencedStructureSetSequence") or []) if plan else []
    wanted = {str(reference.ReferencedSOPInstanceUID) for reference in references}
    chosen = next((s for s in fitting if str(s[1].SOPInstanceUID) in wanted), None)
    if chosen is not None:
        return chosen
    latest = max(fitting, key=lambda s: (str(s[1].get("StructureSetDate", "")), str(s[1].get("StructureSetTime", ""))))
    logger.warning("%s: %d structure sets of the CT; the latest is taken: %s", where, len(fitting), latest[0].name)
    return latest


def _prescription(plan: pydicom.Dataset) -> float | None:
    doses = [
        float(reference.TargetPrescriptionDose)
        for reference in plan.get("DoseReferenceSequence") or []
        if reference.get("DoseReferenceType") == "TARGET" and reference.get("TargetPrescriptionDose") not in (None, "")
    ]
    return max(doses) if doses else None
