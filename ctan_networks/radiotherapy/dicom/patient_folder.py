# SPDX-License-Identifier: Apache-2.0
"""What belongs together in a patient's folder: objects are matched by their UIDs, whatever the files are called."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.ct_pixels import refuse_damaged
from ctan_networks.radiotherapy.dicom.ct_series import CTSeries, is_axial, make_series, refuse_strays, stack_direction
from ctan_networks.radiotherapy.dicom.ct_slices import slices_of
from ctan_networks.radiotherapy.dicom.elements import read_dicom, read_known, text
from ctan_networks.radiotherapy.dicom.extent import refuse_cut_series
from ctan_networks.radiotherapy.dicom.identity import refuse_several_patients
from ctan_networks.radiotherapy.dicom.plan_dose import (
    PlannedDose,
    choose_planned_dose,
    choose_prescription,
    each_once,
)
from ctan_networks.radiotherapy.dicom.prescription import Prescription
from ctan_networks.radiotherapy.dicom.rtstruct import referenced_series
from ctan_networks.radiotherapy.dicom.scan import PatientObjects, scan_folder
from ctan_networks.radiotherapy.dicom.structure_sets import choose_structures, was_drawn_on

__all__ = ["PatientObjects", "TreatmentPlan", "read_ct", "read_prescription", "read_treatment_plan", "scan_folder"]

logger = logging.getLogger(__name__)

Read = Sequence[tuple[Path, Any]]
# Component along the patient's axis of the direction in which axial slices are stacked; a tilted gantry included.
AXIAL = 0.7


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


def read_treatment_plan(
    objects: PatientObjects, need_structures: bool = True, need_dose: bool | None = True
) -> TreatmentPlan:
    """Choose the CT series of a folder and the structures, doses and plan that belong to it.

    The CT is the one series that is there (localizers do not count), or of several the one on which structures were
    drawn. Structure sets count when they name that series, or name none and lie in its frame of reference; doses and
    plans when they lie in its frame of reference. Of several structure sets the plan's is taken, else the latest; see
    :py:func:`ctan_networks.radiotherapy.dicom.structure_sets.choose_structures`. A plan's total dose is taken if there
    is one, else its doses a beam are summed.

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
    refuse_cut_series(where, ct, fitting, objects.doses)
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
    structure_sets = []
    for file in objects.structure_sets:
        with suppress(DataError):
            structure_sets.append((file, read_dicom(file)))
    ct = _as_series(objects, _choose_series(where, objects, structure_sets))
    fitting = [(file, data) for file, data in structure_sets if was_drawn_on(file, data, ct)]
    refuse_cut_series(where, ct, fitting, objects.doses)
    return ct


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
    series = make_series(objects.folder, files, [read_known(file) for file in files])
    for others in objects.ct.values():
        headers = [] if others is files else [read_known(file) for file in others]
        if headers and stack_direction(others, headers) is None:
            refuse_strays(series, [s for pair in zip(others, headers, strict=True) for s in slices_of(*pair)])
    return series


def _checked(objects: PatientObjects) -> str:
    """What errors name, once it is clear that nothing is damaged and all is of one patient."""
    refuse_damaged(objects.damaged)
    where = f"{objects.folder} ({objects.summary()})"
    refuse_several_patients(where, objects.patients.items())
    return where


def _choose_series(where: str, objects: PatientObjects, structure_sets: Read) -> list[Path]:
    """Files of the one series that is a volume; of several volumes the one with structures, else the one axial one."""
    if not objects.ct:
        raise DataError(f"{where}: no CT images. Give the folder of one patient with the planning CT in DICOM.")
    if len(objects.ct) == 1:
        return next(iter(objects.ct.values()))
    directions = {
        uid: stack_direction(files, [read_known(file) for file in files]) for uid, files in objects.ct.items()
    }
    volumes = [uid for uid, direction in directions.items() if direction is not None]
    axial = [uid for uid, direction in directions.items() if direction is not None and abs(direction[2]) > AXIAL]
    named = {uid for file, data in structure_sets for uid in referenced_series(data, file)} & set(volumes)
    chosen = next((uids for uids in (volumes, list(named), [] if named else axial) if len(uids) == 1), None)
    if chosen is None:
        raise DataError(
            f"{where}: {len(volumes)} CT series, and {'structures on several' if named else 'no structure set tells'}"
            f"{' of them' if named else ' which one to take'}. Leave one CT series in the folder."
        )
    logger.info("%d of %d CT series are ignored", len(objects.ct) - 1, len(objects.ct))
    return objects.ct[chosen[0]]
