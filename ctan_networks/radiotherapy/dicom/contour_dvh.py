# SPDX-License-Identifier: Apache-2.0
"""A DVH from contours and a dose grid, on points finer than either: what planning systems do, and masks cannot."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.planes import plane_spacing
from ctan_networks.radiotherapy.dicom.rasterise import rasterise
from ctan_networks.radiotherapy.dicom.rtdose import DoseGrid, resample_dose
from ctan_networks.radiotherapy.dicom.rtstruct import Structure
from ctan_networks.reading import check_voxels

__all__ = ["ContourDVH", "contour_dvh"]

SAMPLES = 4


@dataclass(frozen=True, eq=False)
class ContourDVH:
    """Doses of a structure's points, each with its volume.

    Attributes:
        dose: Gy, ascending, ``[P]``.
        volume: of each point in cc, ``[P]``.
        outside: volume in cc beyond the dose grid that is not counted.

    """

    dose: np.ndarray
    volume: np.ndarray
    outside: float = 0.0

    @property
    def total(self) -> float:
        """Volume of the structure in cc."""
        return float(self.volume.sum())

    @property
    def mean(self) -> float:
        """Mean dose in Gy."""
        return float(self.dose @ self.volume / self.volume.sum())

    def volume_at(self, dose: np.ndarray) -> np.ndarray:
        """Volume in cc that receives at least each dose in Gy."""
        above = np.concatenate([np.cumsum(self.volume[::-1])[::-1], [0.0]])
        return above[np.searchsorted(self.dose, dose, side="left")]

    def dose_at(self, volume: float) -> float:
        """Dose in Gy that the hottest ``volume`` cc receive at least; the minimum dose for the whole volume."""
        hottest = np.cumsum(self.volume[::-1])
        # Rounding of a sum over a million points.
        position = int(np.searchsorted(hottest, volume * (1 - 1e-9), side="left"))
        return float(self.dose[::-1][min(position, len(hottest) - 1)])


def contour_dvh(
    structure: Structure, grid: DoseGrid, pixel_mm: float = 0.5, end_slice: float = 1.0, inside_grid: bool = False
) -> ContourDVH:
    """DVH of an axial structure: slices at the planes of its contours, pixels of ``pixel_mm``, trilinear dose.

    A structure reaches from half a slice below its lowest contour to half a slice above its highest one. Planning
    systems differ there: Eclipse counts the two end slices by about 0.6 of their thickness, CERR in full, which changes
    the volume of a structure of 50 cc by 1 %.

    Args:
        structure: with contours in planes of constant z, evenly spaced where there are gaps or not.
        grid: the dose.
        pixel_mm: edge of a pixel; 4 x 4 points in each say how much of it is inside.
        end_slice: thickness of the first and the last slice, relative to the others.
        inside_grid: count only what lies in the dose grid; else the dose beyond it is 0.

    Raises:
        DataError: when the structure has no contours, or encloses nothing, or more than can be computed.

    """
    if not structure.contours:
        raise DataError(f"structure {structure.name!r} has no contours.")
    points = np.concatenate(structure.contours)
    planes = np.unique(np.round([c[:, 2].mean() for c in structure.contours], 2))
    thickness = plane_spacing(structure.contours)
    low, high = points.min(0) - pixel_mm, points.max(0) + pixel_mm
    columns, rows = (math.ceil(extent / pixel_mm) for extent in (high - low)[:2])
    shape = (columns, rows, round((planes[-1] - planes[0]) / thickness) + 1)
    check_voxels(f"structure {structure.name!r}, in pixels of {pixel_mm:g} mm", shape)
    affine = np.diag([pixel_mm, pixel_mm, thickness, 1.0])
    affine[:3, 3] = [low[0], low[1], planes[0]]
    try:
        volume = rasterise(structure.contours, affine, shape, SAMPLES) * (pixel_mm**2 * thickness / 1000)
    except DataError as error:
        raise DataError(f"structure {structure.name!r}: {error}") from None
    if not volume.any():
        raise DataError(f"structure {structure.name!r} encloses no area. Draw it again, or leave it out.")
    for end in {0, shape[2] - 1}:
        volume[:, :, end] *= end_slice
    outside = 0.0
    if inside_grid:
        whole = float(volume.sum(dtype=np.float64))
        volume *= resample_dose(_ones(grid), affine, shape) > 0
        outside = whole - float(volume.sum(dtype=np.float64))
    dose = resample_dose(grid, affine, shape)
    inside = volume > 0
    order = np.argsort(dose[inside], kind="stable")
    return ContourDVH(dose[inside][order].astype(np.float64), volume[inside][order].astype(np.float64), outside)


def _ones(grid: DoseGrid) -> DoseGrid:
    return DoseGrid(np.ones_like(grid.dose), grid.affine, grid.offsets, grid.frame_of_reference)
