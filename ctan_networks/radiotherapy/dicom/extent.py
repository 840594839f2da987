# SPDX-License-Identifier: Apache-2.0
"""Whether a CT is whole: structures and doses do not go on where its slices end."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pydicom

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.ct_series import GAP_TOLERANCE_MM, CTSeries
from ctan_networks.radiotherapy.dicom.outlines import contour_area
from ctan_networks.radiotherapy.dicom.rtdose import read_dose
from ctan_networks.radiotherapy.dicom.rtstruct import read_structures
from ctan_networks.radiotherapy.pseudonyms import without_patient

__all__ = ["refuse_cut_series"]

# Of a dose's maximum: what planning systems compute is 0 where they have no CT.
SOME_DOSE = 0.01


def refuse_cut_series(
    where: str, ct: CTSeries, structure_sets: Iterable[tuple[Path, pydicom.Dataset]], doses: Iterable[Path]
) -> None:
    """Refuse a CT that lacks slices at an end: a gap shows by the slices themselves, a missing end does not.

    Structures were drawn on slices, and doses computed on them: where a structure reaches from the CT to beyond half a
    slice behind its last one, or a dose is more than 1 % of its maximum there, slices were there too. Contours smaller
    than a pixel are stray clicks.

    Args:
        where: what errors name.
        ct: the series.
        structure_sets: that were drawn on it; files and what they hold.
        doses: RTDOSE files; those of another frame of reference are not compared. What cannot be read is reported
            where it is needed.

    Raises:
        DataError: says what goes on, and how far.

    """
    normal = ct.affine[:3, 2] / ct.spacing[2]
    low = float(ct.affine[:3, 3] @ normal) - ct.spacing[2] / 2 - GAP_TOLERANCE_MM
    high = low + ct.shape[2] * ct.spacing[2] + 2 * GAP_TOLERANCE_MM
    beyond: dict[str, float] = {}
    for file, data in structure_sets:
        with suppress(DataError):
            for structure in read_structures(file, data, quiet=True):
                drawn = [c for c in structure.contours if contour_area(c) >= ct.spacing[0] * ct.spacing[1]]
                if drawn and structure.frame_of_reference in ("", ct.frame_of_reference):
                    heights = np.array([(contour @ normal).mean() for contour in drawn])
                    inside = (heights >= low) & (heights <= high)
                    if inside.any() and not inside.all():
                        name = without_patient(structure.name, ct.headers[0])
                        beyond[f"ROI {name!r} of {file.name}"] = _distance(heights[~inside], low, high)
    for file in doses:
        with suppress(DataError):
            grid = read_dose(file)
            if grid.frame_of_reference == ct.frame_of_reference:
                along = grid.affine[:3, 2] / np.linalg.norm(grid.affine[:3, 2])
                heights = grid.affine[:3, 3] @ normal + grid.offsets * (along @ normal)
                given = grid.dose.max(axis=(0, 1)) > SOME_DOSE * grid.dose.max()
                outside = given & ((heights < low) | (heights > high))
                if outside.any():
                    beyond[f"the dose of {file.name}"] = _distance(heights[outside], low, high)
    if beyond:
        listed = ", ".join(f"{what} by {distance:.1f} mm" for what, distance in beyond.items())
        raise DataError(
            f"{where}: the CT ends where something goes on: {listed}. Slices at its end are missing. Export the whole"
            " series again."
        )


def _distance(heights: np.ndarray, low: float, high: float) -> float:
    """How far the farthest of heights lies outside."""
    return float(np.maximum(low - heights, heights - high).max())
