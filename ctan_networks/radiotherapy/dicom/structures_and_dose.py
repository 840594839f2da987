# SPDX-License-Identifier: Apache-2.0
"""Structures and the dose that belongs to them, in a folder that may hold no CT."""

from __future__ import annotations

from pathlib import Path

import pydicom

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.ct_pixels import refuse_damaged
from ctan_networks.radiotherapy.dicom.elements import items, read_dicom, read_known, text
from ctan_networks.radiotherapy.dicom.identity import PatientIdentity, refuse_several_patients
from ctan_networks.radiotherapy.dicom.patient_folder import PatientObjects
from ctan_networks.radiotherapy.dicom.plan_dose import PlannedDose, choose_planned_dose, each_once
from ctan_networks.radiotherapy.dicom.structure_sets import choose_structures

__all__ = ["read_structures_and_dose"]

Read = tuple[Path, pydicom.Dataset]


def read_structures_and_dose(objects: PatientObjects) -> tuple[Read, PlannedDose]:
    """Choose the dose of a folder, and the structure set in its frame of reference.

    The dose is chosen as :py:func:`ctan_networks.radiotherapy.dicom.patient_folder.read_treatment_plan` chooses it. Of
    several structure sets in its frame of reference the one that the plan names is taken, else the latest.

    Args:
        objects: of the folder.

    Returns:
        the structure set with its file, of which single ROIs may lie in another frame of reference; and the dose with
        its plans.

    Raises:
        DataError: when structures or dose are missing, lie in different frames of reference, or are of several
            patients.

    """
    refuse_damaged(objects.damaged)
    where = f"{objects.folder} ({objects.summary()})"
    doses = [(file, read_known(file)) for file in objects.doses]
    if not doses:
        raise DataError(f"{where}: no dose. Export the plan's dose (RTDOSE) with the structures.")
    if not objects.structure_sets:
        raise DataError(f"{where}: no structures. Export the structure set (RTSTRUCT) with the dose.")
    frames = {text(file, data, "FrameOfReferenceUID") for file, data in doses}
    if len(frames) > 1:
        raise DataError(f"{where}: doses in {len(frames)} frames of reference. Leave those of one plan.")
    frame = frames.pop()
    plans = [(file, read_dicom(file)) for file in objects.plans]
    structure_sets = each_once([(file, read_dicom(file)) for file in objects.structure_sets])
    # Images are not used, and may have been pseudonymised in another way.
    used = [*doses, *plans, *structure_sets]
    refuse_several_patients(where, [(PatientIdentity.read(file, data), file) for file, data in used])
    dose = choose_planned_dose(where, doses, plans, frame)
    fitting = [
        (file, data) for file, data in structure_sets if not (found := _frames(file, data)) or found & {"", frame}
    ]
    if not fitting:
        raise DataError(
            f"{where}: the structures lie in another frame of reference than the dose. Export both of the same images."
        )
    chosen = choose_structures(where, fitting, dose.plans[0] if len(dose.plans) == 1 else None)
    if chosen is None:
        raise DataError(f"{where}: no structures. Export the structure set (RTSTRUCT) with the dose.")
    return chosen, dose


def _frames(file: Path, structure_set: pydicom.Dataset) -> set[str]:
    return {
        text(file, roi, "ReferencedFrameOfReferenceUID")
        for roi in items(file, structure_set, "StructureSetROISequence")
    }
