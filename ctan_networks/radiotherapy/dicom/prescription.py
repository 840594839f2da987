# SPDX-License-Identifier: Apache-2.0
"""The dose that RTPLANs prescribe to their targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.elements import items, number, text

__all__ = ["Prescription", "fractions_planned", "prescriptions_of_targets", "total_prescription"]

# Above all prescriptions to a target; what is stated in cGy is not.
MAX_PRESCRIPTION_GY = 200.0
Plans = Sequence[tuple[Path, pydicom.Dataset]]


@dataclass(frozen=True)
class Prescription:
    """What is prescribed to a patient, as far as plans state it.

    Attributes:
        gray: prescribed dose in Gy: the highest of the plan's targets, summed over the plans of a summed dose; None:
            not known.
        source: where it comes from, or why it is not known, in a few words.
        levels: all doses in Gy that the plan prescribes to targets, ascending; of several plans only the sum.

    """

    gray: float | None
    source: str
    levels: tuple[float, ...] = ()


def prescriptions_of_targets(file: Path, plan: pydicom.Dataset) -> tuple[float, ...]:
    """Doses in Gy that a plan prescribes to its targets (TargetPrescriptionDose), ascending.

    Raises:
        DataError: when one is not positive, or no dose in Gy.

    """
    stated = {
        number(file, reference, "TargetPrescriptionDose")
        for reference in items(file, plan, "DoseReferenceSequence")
        if text(file, reference, "DoseReferenceType") == "TARGET"
    }
    doses = sorted(dose for dose in stated if dose is not None)
    if doses and not 0 < doses[-1] <= MAX_PRESCRIPTION_GY:
        raise DataError(f"{file}: the plan states a prescription of {doses[-1]:g} Gy. Export the plan again, in Gy.")
    return tuple(dose for dose in doses if dose > 0)


def fractions_planned(file: Path, plan: pydicom.Dataset) -> int | None:
    """Number of fractions of all fraction groups; None where one of them does not state it."""
    counts = [number(file, group, "NumberOfFractionsPlanned") for group in items(file, plan, "FractionGroupSequence")]
    return int(sum(counts)) if counts and all(counts) else None  # type: ignore[arg-type]


def total_prescription(plans: Plans) -> Prescription:
    """What one plan, or several that are summed, prescribe.

    Raises:
        DataError: see :py:func:`prescriptions_of_targets`.

    """
    levels = [prescriptions_of_targets(*plan) for plan in plans]
    if not all(levels):
        return Prescription(None, "the plan states no prescription" if len(plans) == 1 else "a plan states none")
    if len(plans) == 1:
        return Prescription(levels[0][-1], "as the plan states", levels[0])
    total = sum(doses[-1] for doses in levels)
    shown = " + ".join(f"{doses[-1]:g}" for doses in levels)
    return Prescription(total, f"{shown}, as {len(plans)} plans state", (total,))
