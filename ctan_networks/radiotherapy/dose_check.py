# SPDX-License-Identifier: Apache-2.0
"""Whether a dose is in Gy, and is the dose that was prescribed: what the target receives tells."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence

from ctan_networks.errors import ConfigError, DataError

__all__ = ["check_given", "check_gray", "check_maximum", "check_target_dose", "check_whole_treatment", "is_target"]

TARGETS = ("PTV", "CTV", "GTV")
# Maximum in Gy of a whole plan's dose: relative doses end near 1, doses in cGy begin above.
LOWEST_MAXIMUM_GY, HIGHEST_MAXIMUM_GY = 1.5, 200.0
# Median dose of the target in units of the prescription. Plans of conventional fractions lie within a few per cent; a
# prescription to an isodose, as in stereotactic treatments, and targets cut by organs need room. A missing or double
# beam of a few, a boost that is left out, or the dose of a fraction are farther off.
LOWEST_MEDIAN, HIGHEST_MEDIAN = 0.8, 1.25
USUAL_MEDIAN = (0.9, 1.1)
# Where no target is drawn: the hottest voxel.
LOWEST_MAXIMUM, HIGHEST_MAXIMUM = 0.8, 2.0
# A whole treatment has no less, and a fraction no more.
LOWEST_PRESCRIPTION_GY = 5.0


def is_target(structure: str) -> bool:
    """Whether a structure is a target, by its name: PTV..., CTV..., GTV..."""
    return structure.upper().startswith(TARGETS)


def check_given(prescription: float | None) -> float | None:
    """A prescription that was typed in, once it is clear that it is one in Gy.

    Args:
        prescription: in Gy; None: none was given.

    Raises:
        ConfigError: when it is not a positive number, or must be in cGy.

    """
    if prescription is None:
        return None
    if not isinstance(prescription, (int, float)) or not 0 < prescription <= HIGHEST_MAXIMUM_GY:
        raise ConfigError(
            f"--prescription {prescription}: give the dose of the whole treatment in Gy, at most"
            f" {HIGHEST_MAXIMUM_GY:g}."
        )
    return float(prescription)


def check_gray(where: str | os.PathLike, minimum: float, maximum: float) -> None:
    """Refuse values that cannot be a plan's dose in Gy.

    Args:
        where: what the error names.
        minimum: of the volume.
        maximum: of the volume.

    Raises:
        DataError: says what they might be.

    """
    if minimum < 0:
        raise DataError(f"{where}: the dose goes down to {minimum:g}: no dose is negative. Export it again.")
    if LOWEST_MAXIMUM_GY <= maximum <= HIGHEST_MAXIMUM_GY:
        return
    if maximum == 0:
        reason = "there is no dose in it"
    elif maximum < LOWEST_MAXIMUM_GY:
        reason = "it is relative, or that of a part of a fraction"
    else:
        reason = "it is in cGy, in per cent, or no dose"
    raise DataError(
        f"{where}: the dose reaches {maximum:g}. That is not a plan's dose in Gy, which reaches"
        f" {LOWEST_MAXIMUM_GY:g} to {HIGHEST_MAXIMUM_GY:g}: {reason}. Give the plan's total dose in Gy."
    )


def check_target_dose(
    where: str | os.PathLike,
    prescription: float,
    medians: Mapping[str, float],
    levels: Sequence[float] = (),
    fractions: int | None = None,
) -> str:
    """Compare the median dose of the target with the prescription.

    Args:
        where: what the error names.
        prescription: in Gy.
        medians: median dose in Gy of each target that is drawn. The highest counts: the prescription is that of the
            highest level.
        levels: all doses in Gy that the plan prescribes to targets.
        fractions: number of fractions that are planned, for the error's advice.

    Returns:
        What was found, in a few words.

    Raises:
        DataError: when they do not agree; names both.

    """
    if not medians:
        return "not compared with the dose: no target is drawn"
    target = max(medians, key=lambda name: medians[name])
    median = medians[target]
    ratio = median / prescription
    said = f"the median dose of {target} is {median:.1f} Gy ({100 * ratio:.0f} %)"
    # Of several stated levels the highest must also be the nearest.
    nearer = [level for level in levels if abs(math.log(median / level)) < abs(math.log(ratio))] if median > 0 else []
    if LOWEST_MEDIAN <= ratio <= HIGHEST_MEDIAN and not nearer:
        return said + ("" if USUAL_MEDIAN[0] <= ratio <= USUAL_MEDIAN[1] else ", which is unusual")
    advice = _advice(prescription, median, nearer, fractions)
    raise DataError(
        f"{where}: the prescription is {prescription:g} Gy, and {said}.{advice} Export plan and dose again, or give the"
        " prescription of this target in Gy with --prescription."
    )


def check_maximum(where: str | os.PathLike, prescription: float, maximum: float) -> None:
    """Compare a dose with the prescription where no target is known: the hottest voxel alone.

    Args:
        where: what the error names.
        prescription: in Gy.
        maximum: of the dose in Gy.

    Raises:
        DataError: when they do not agree; names both.

    """
    if not LOWEST_MAXIMUM <= maximum / prescription <= HIGHEST_MAXIMUM:
        raise DataError(
            f"{where}: the prescription is {prescription:g} Gy, and the dose reaches {maximum:.1f} Gy. Export plan and"
            " dose again, or give the prescription in Gy with --prescription."
        )


def check_whole_treatment(where: str | os.PathLike, prescription: float, maximum: float | None) -> None:
    """Refuse a prescription that is that of a fraction, where nothing but the prescription is needed.

    Args:
        where: what the error names.
        prescription: in Gy.
        maximum: of the plan's dose in Gy; None: there is none.

    Raises:
        DataError: when the dose is much higher or, without a dose, the prescription is that low.

    """
    if maximum is not None and maximum > HIGHEST_MAXIMUM * prescription:
        check_maximum(where, prescription, maximum)
    if maximum is None and prescription < LOWEST_PRESCRIPTION_GY:
        raise DataError(
            f"{where}: the plan states a prescription of {prescription:g} Gy, which is that of a fraction, not of a"
            " treatment. Give it in Gy with --prescription."
        )


def _advice(prescription: float, median: float, nearer: Sequence[float], fractions: int | None) -> str:
    if nearer:
        return f" The plan also prescribes {', '.join(f'{level:g}' for level in nearer)} Gy."
    times = median / prescription
    if fractions and fractions > 1:
        for factor, what in ((fractions, "prescription"), (1 / fractions, "dose")):
            if LOWEST_MEDIAN <= times / factor <= HIGHEST_MEDIAN:
                return f" The {what} is that of one of the {fractions} fractions."
    if times > 2:
        return f" The prescription may be that of a fraction: the dose is {times:.0f} times as high."
    return " A beam or a plan may be missing, or counted twice."
