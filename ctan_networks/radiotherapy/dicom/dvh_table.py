# SPDX-License-Identifier: Apache-2.0
"""The DVH of each structure of a structure set in a dose, in numbers and as curves. No CT is needed."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.contour_dvh import ContourDVH, contour_dvh
from ctan_networks.radiotherapy.dicom.rtdose import DoseGrid
from ctan_networks.radiotherapy.dicom.rtstruct import Structure
from ctan_networks.radiotherapy.dicom.stored_dvh import StoredDVH

__all__ = ["StructureDVH", "structure_dvhs"]

logger = logging.getLogger(__name__)

# Points in a structure above which pixels are made larger: half a millimetre in a body costs minutes and gains nothing.
MAX_POINTS = 4e6
PIXEL_MM = 0.5
# Part of a structure, in per cent, above which it counts as covered by the dose grid.
COVERED = 99.9


@dataclass(frozen=True, eq=False)
class StructureDVH:
    """The DVH of one structure.

    Attributes:
        number: ROINumber.
        name: ROIName.
        kind: RTROIInterpretedType, such as "PTV".
        volume_cc: of the whole structure.
        covered: part of it that lies in the dose grid, in per cent. Dose is known there alone, and every number below
            refers to it.
        dvh: its doses; None where no part is covered.
        stored: the DVH that the planning system stored for it; None where there is none.

    """

    number: int
    name: str
    kind: str
    volume_cc: float
    covered: float
    dvh: ContourDVH | None
    stored: StoredDVH | None = None

    def statistics(self, levels: Sequence[float] = ()) -> dict[str, float]:
        """Doses in Gy (minimum, mean, maximum, D_x % and D_x cc) and, for each level in Gy, V_x in per cent and cc.

        NaN where no part of the structure is covered by the dose grid.
        """
        dvh = self.dvh
        row: dict[str, float] = {"minimum": math.nan, "mean": math.nan, "maximum": math.nan}
        if dvh is not None:
            row = {"minimum": float(dvh.dose[0]), "mean": dvh.mean, "maximum": float(dvh.dose[-1])}
        for percent in (99, 98, 95, 50, 2, 1):
            row[f"D_{percent}"] = dvh.dose_at(dvh.total * percent / 100) if dvh else math.nan
        for cc in (0.03, 0.1, 1.0):
            row[f"D_{cc:g}_cc"] = dvh.dose_at(min(cc, dvh.total)) if dvh else math.nan
        for level in levels:
            volume = float(dvh.volume_at(np.array([level]))[0]) if dvh else math.nan
            row[f"V_{level:g}_Gy"] = 100 * volume / dvh.total if dvh else math.nan
            row[f"V_{level:g}_Gy_cc"] = volume
        return row


def structure_dvhs(
    structures: Iterable[Structure], grid: DoseGrid, stored: Sequence[StoredDVH] = (), end_slice: float = 1.0
) -> tuple[list[StructureDVH], dict[str, str]]:
    """Compute the DVH of each structure that has contours.

    Args:
        structures: of one structure set.
        grid: the dose.
        stored: DVHs that the planning system computed, by :py:func:`read_stored_dvhs`.
        end_slice: thickness of the first and last slice relative to the others; see
            :py:func:`ctan_networks.radiotherapy.dicom.contour_dvh.contour_dvh`.

    Returns:
        the DVHs, in the order of the structures; and name to reason of those that have none.

    """
    by_number = {dvh.roi_number: dvh for dvh in stored}
    found, left_out = [], {}
    for structure in structures:
        if not structure.contours:
            left_out[structure.name] = "no contours"
            continue
        if structure.frame_of_reference and grid.frame_of_reference not in ("", structure.frame_of_reference):
            left_out[structure.name] = "drawn in another frame of reference than the dose"
            continue
        pixel = _pixel(structure)
        try:
            dvh = contour_dvh(structure, grid, pixel, end_slice, inside_grid=True)
        except DataError as error:
            left_out[structure.name] = str(error)
            continue
        volume = dvh.total + dvh.outside
        covered = 100 * dvh.total / volume
        if covered < COVERED:
            logger.warning(
                "%s: %.1f %% of it lies in the dose grid; its doses are those of that part", structure.name, covered
            )
        found.append(
            StructureDVH(
                structure.number,
                structure.name,
                structure.kind,
                volume,
                covered,
                dvh if dvh.total else None,
                by_number.get(structure.number),
            )
        )
    return found, left_out


def _pixel(structure: Structure) -> float:
    """Edge of a pixel in mm: half a millimetre, or more where a structure would have too many points."""
    points = np.concatenate(structure.contours)
    planes = len(np.unique(np.round([c[:, 2].mean() for c in structure.contours], 2)))
    extent = np.ptp(points[:, :2], axis=0)
    return max(PIXEL_MM, math.sqrt(float(extent.prod()) * planes / MAX_POINTS))
