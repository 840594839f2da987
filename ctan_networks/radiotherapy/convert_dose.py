# SPDX-License-Identifier: Apache-2.0
"""The planned dose of a patient, compared with the structures that it was planned for and with the prescription."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.ct_series import CTSeries
from ctan_networks.radiotherapy.dicom.elements import text
from ctan_networks.radiotherapy.dicom.identity import refuse_several_patients
from ctan_networks.radiotherapy.dicom.patient_folder import TreatmentPlan, read_prescription, scan_folder
from ctan_networks.radiotherapy.dicom.prescription import fractions_planned
from ctan_networks.radiotherapy.dicom.rtdose import (
    DoseGrid,
    dose_at,
    known_part,
    read_dose,
    resample_dose,
    sum_doses,
)
from ctan_networks.radiotherapy.dose_check import (
    check_gray,
    check_maximum,
    check_target_dose,
    check_whole_treatment,
    is_target,
)

__all__ = ["dose_for_nifti", "judge_prescription", "prescription_of_plan", "prescription_to_predict"]


def dose_for_nifti(plan: TreatmentPlan, masks: Path, structures: Iterable[str]) -> tuple[DoseGrid, dict[str, Any]]:
    """The planned dose with even frames, and what it gives to the structures.

    Args:
        plan: with doses.
        masks: folder with ``<structure>.nii.gz`` on the grid of the plan's CT.
        structures: which of them are there.

    Returns:
        The dose; and "kind" (what was summed), number of "files", "maximum_gy", "medians_gy" of the targets and
        "outside": the part of each structure's voxels in which the dose is unknown, where there are some.

    Raises:
        DataError: when the doses contradict each other, are not in Gy, or do not cover a target.

    """
    files = [file for file, _ in plan.doses]
    grids = [read_dose(file) for file in files]
    beams = [
        (file, grid.dose)
        for (file, header), grid in zip(plan.doses, grids, strict=True)
        # Fraction groups of the same beams may well give the same dose.
        if text(file, header, "DoseSummationType") == "BEAM" and grid.dose.any()
    ]
    for (one, first), (another, second) in combinations(beams, 2):
        if np.array_equal(first, second):
            raise DataError(f"{one} and {another} hold the same dose. Leave one of them.")
    total = known_part(sum_doses(grids))
    check_gray(files[0] if len(files) == 1 else files[0].parent, float(total.dose.min()), float(total.dose.max()))
    medians, outside = {}, {}
    for structure in structures:
        mask = np.asanyarray(nib.load(masks / f"{structure}.nii.gz").dataobj)  # type: ignore[attr-defined]
        doses = dose_at(total, nib.affines.apply_affine(plan.ct.affine, np.argwhere(mask)))
        unknown = float(np.isnan(doses).mean())
        if unknown > 0 and is_target(structure):
            raise DataError(
                f"{files[0]}: {100 * unknown:.0f} % of {structure} lie outside of the dose grid, where the dose is not"
                " known. Export the dose on a grid that covers the target."
            )
        if unknown > 0:
            outside[structure] = round(unknown, 3)
        if is_target(structure):
            medians[structure] = round(float(np.median(doses)), 3)
    found = {
        "kind": plan.dose.kind,
        "files": len(files),
        "maximum_gy": round(float(total.dose.max()), 3),
        "medians_gy": medians,
        "outside": outside,
    }
    return _even(total, plan.ct), found


def prescription_of_plan(plan: TreatmentPlan) -> dict[str, Any]:
    """Where the prescription comes from ("source"), all "levels_gy" that the plan states, and its "fractions"."""
    stated = plan.dose.prescription
    fractions = fractions_planned(*plan.plan) if plan.plan is not None else None
    return {"source": stated.source, "levels_gy": list(stated.levels), "fractions": fractions}


def judge_prescription(
    where: str | os.PathLike, provenance: Mapping[str, Any], given: float | None
) -> tuple[float | None, str]:
    """A patient's prescription, once it agrees with the dose.

    Args:
        where: what errors name.
        provenance: with "prescription_gy", "prescription" and, where there is one, "dose", as the functions above
            give them.
        given: prescription in Gy that overrides the plan's.

    Returns:
        The prescription in Gy, None where it is neither known nor needed; and in a few words what was decided.

    Raises:
        DataError: when there is a dose, and its prescription is not known or is another.

    """
    stated, details, dose = provenance["prescription_gy"], provenance["prescription"], provenance.get("dose")
    gray = given or stated
    source = details["source"]
    if given:
        source = "as given" + (f" (the plan states {stated:g} Gy)" if stated not in (None, given) else "")
    if dose is None:
        return gray, f"no dose; prescription {gray:g} Gy, {source}" if gray else f"no dose, no prescription ({source})"
    if gray is None:
        raise DataError(f"{where}: the prescription is not known: {source}. Give it in Gy, as --prescription 78.")
    levels = () if given else tuple(details["levels_gy"])
    compared = check_target_dose(where, gray, dose["medians_gy"], levels, details["fractions"])
    if not dose["medians_gy"]:
        check_maximum(where, gray, dose["maximum_gy"])
    if not given:
        # Both may be those of a fraction.
        check_whole_treatment(where, gray, None)
    parts = [dose["kind"], f"prescription {gray:g} Gy, {source}", compared]
    if dose["outside"]:
        listed = ", ".join(f"{100 * part:.0f} % of {name}" for name, part in dose["outside"].items())
        parts.append(f"the dose is unknown, outside of its grid, in {listed}")
    return gray, "; ".join(parts)


def prescription_to_predict(folder: Path) -> tuple[float | None, str]:
    """The prescription of a folder in DICOM, of which nothing but the CT is needed.

    Args:
        folder: of one patient.

    Returns:
        In Gy, None where it is not known; and in a few words where it comes from, or why it is not known.

    Raises:
        DataError: when the folder is of several patients, or the prescription and the dose beside it contradict each
            other.

    """
    objects = scan_folder(folder)
    refuse_several_patients(folder, objects.patients.items())
    try:
        prescription, total = read_prescription(objects)
    except DataError as error:
        # What cannot be read or told apart is not needed to predict.
        return None, str(error)
    if prescription.gray is None:
        return None, prescription.source
    maximum = None
    if total is not None:
        with suppress(DataError):
            maximum = float(read_dose(total).dose.max())
    check_whole_treatment(folder, prescription.gray, maximum)
    return prescription.gray, prescription.source


def _even(dose: DoseGrid, ct: CTSeries) -> DoseGrid:
    """NIfTI knows evenly spaced slices only."""
    if dose.is_even and dose.dose.shape[2] > 1:
        return dose
    steps = np.arange(ct.shape[2]) * ct.spacing[2]
    values = resample_dose(dose, ct.affine, ct.shape, outside=np.nan)
    return known_part(DoseGrid(values, ct.affine, steps, dose.frame_of_reference))
