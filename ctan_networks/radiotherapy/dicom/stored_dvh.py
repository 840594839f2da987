# SPDX-License-Identifier: Apache-2.0
"""The dose-volume histograms that a planning system stored in an RTDOSE."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.elements import items, number, numbers, pixels, read_dicom, text
from ctan_networks.reading import check_voxels

__all__ = ["StoredDVH", "read_stored_dvhs"]

logger = logging.getLogger(__name__)

# Rounding of a DVH's last bin.
ABOVE_MAXIMUM = 1.05
# Part of a structure's volume below which a negative one is rounding.
NOTHING = 1e-9


@dataclass(frozen=True, eq=False)
class StoredDVH:
    """A cumulative DVH.

    Attributes:
        roi_number: of the structure in the structure set that the dose references.
        dose: Gy, ascending, float64 ``[B]``, the centre of each bin.
        volume: that receives at least the dose, in cc, float64 ``[B]``; NaN in all where the file states no volume.
        stated_mean: mean dose in Gy as the file states it; NaN where it does not.

    """

    roi_number: int
    dose: np.ndarray
    volume: np.ndarray
    stated_mean: float

    @property
    def total(self) -> float:
        """Volume of the structure in cc."""
        return float(self.volume[0])

    @property
    def mean(self) -> float:
        """Mean dose in Gy, the area below the curve."""
        edges = np.concatenate([[0.0], self.dose])
        fractions = np.concatenate([[1.0], self.volume / self.volume[0]])
        return float(np.trapezoid(fractions, edges))


def read_stored_dvhs(
    file: Path, dataset: pydicom.Dataset | None = None, prescription: float | None = None
) -> list[StoredDVH]:
    """Read the cumulative DVHs of an RTDOSE (DICOM PS3.3 C.8.8.4).

    Some planning systems write the dose axis, or the minimum, mean and maximum beside it, in per cent of the
    prescription and yet say GY. It shows by a dose that no voxel of the grid has: such values are scaled by the
    prescription, and the log says so.

    Args:
        file: the file.
        dataset: what it holds with its pixels, where it has been read already.
        prescription: prescribed dose in Gy, for axes that are relative.

    Raises:
        DataError: when an axis is relative and the prescription is not given, or when data are damaged.

    """
    data = dataset if dataset is not None else read_dicom(file)
    maximum = _maximum(file, data) if "PixelData" in data else np.inf
    found = []
    scaled = False
    for entry in items(file, data, "DVHSequence"):
        references = items(file, entry, "DVHReferencedROISequence")
        if text(file, entry, "DVHType") != "CUMULATIVE" or not references:
            continue
        values = numbers(file, entry, "DVHData")
        if values is None or values.size % 2:
            size = 0 if values is None else values.size
            raise DataError(f"{file}: a DVH with {size} numbers, where each bin has two. Export the dose again.")
        widths, volume = values[::2], values[1::2]
        scaling = number(file, entry, "DVHDoseScaling")
        scaling = 1.0 if scaling is None else scaling
        # Eclipse's last bins hold what is left of subtractions, such as -2e-12 of 437 cc.
        if widths.min() < 0 or volume[0] <= 0 or volume.min() < -NOTHING * volume[0] or scaling <= 0:
            raise DataError(f"{file}: a DVH with negative bins, or without volume or scale. Export the dose again.")
        volume = volume.clip(min=0.0)
        dose = (np.cumsum(widths) - widths / 2) * scaling
        highest = float(dose[volume > 0].max(initial=0.0))
        summary = [number(file, entry, name) for name in ("DVHMaximumDose", "DVHMeanDose")]
        stated = [v for v in summary if v is not None]
        says_relative = text(file, entry, "DoseUnits") == "RELATIVE"
        axis, beside = (
            says_relative or value > ABOVE_MAXIMUM * maximum for value in (highest, max(stated, default=0.0))
        )
        # A structure far from the beam has a small maximum in per cent too; the entries of one file have one unit.
        scaled = scaled or axis or beside
        if text(file, entry, "DVHVolumeUnits") == "PERCENT":
            volume = np.full_like(volume, np.nan)
        roi = number(file, references[0], "ReferencedROINumber")
        if roi is None:
            raise DataError(f"{file}: a DVH that names no structure. Export the dose again.")
        found.append((int(roi), dose, volume, stated[-1] if len(stated) == 2 else np.nan, axis, beside))
    if scaled and prescription is None:
        raise DataError(
            f"{file}: its DVHs speak of doses above the {maximum:.2f} Gy of the dose grid: they are in per cent of the"
            " prescription. Give the prescription in Gy, or the RTPLAN that states it."
        )
    unit = (prescription or 100.0) / 100
    axis_unit = unit if any(axis for *_, axis, _ in found) else 1.0
    number_unit = unit if any(beside for *_, beside in found) else 1.0
    if scaled:
        logger.info("%s: DVH doses in per cent of the prescription, scaled by %g Gy", file.name, prescription)
    return [StoredDVH(roi, dose * axis_unit, volume, mean * number_unit) for roi, dose, volume, mean, _, _ in found]


def _maximum(file: Path, data: pydicom.Dataset) -> float:
    """Highest dose of the grid in Gy."""
    size = {name: number(file, data, name) for name in ("Rows", "Columns", "NumberOfFrames", "DoseGridScaling")}
    rows, columns, frames, scaling = size.values()
    if rows is None or columns is None or scaling is None:
        raise DataError(f"{file}: the dose lacks its size or its scale. Export the RTDOSE again.")
    shape = tuple(int(n) for n in (frames or 1, rows, columns))
    check_voxels(file, shape)
    return float(pixels(file, data, shape if shape[0] > 1 else shape[1:]).max()) * scaling
