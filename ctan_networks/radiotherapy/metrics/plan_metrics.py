# SPDX-License-Identifier: Apache-2.0
"""What a planner reads off a dose: statistics of each structure, volumes at a dose, homogeneity and conformity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.metrics.dvh import as_plain_array, dose_at_volume, doses_in_structures, dvh_curve

__all__ = [
    "STATISTICS",
    "VolumesAtDose",
    "dose_at_cc",
    "dose_statistics",
    "homogeneity_index",
    "paddick_conformity",
    "v_at",
]

# Columns of dose_statistics: volume in cc, then doses in Gy.
STATISTICS = ("volume_cc", "mean", "D_0.03_cc", "D_2", "D_50", "D_95", "D_98")
HOTTEST_CC = 0.03


class VolumesAtDose(NamedTuple):
    """Volume of each structure that receives at least each dose.

    Attributes:
        percent: of the structure's volume, ``[D, S, L]``.
        cc: in cm^3, of the same shape.
    """

    percent: np.ndarray
    cc: np.ndarray


def dose_statistics(
    dose: torch.Tensor, structures: torch.Tensor, names: Sequence[str], voxel_volume: float
) -> np.ndarray:
    """Volume and dose statistics of each structure of one case, for any number of doses on the same structures.

    D_x is the dose that x per cent of the volume receive at least; D_0.03_cc, which stands for the maximum dose, that
    of the hottest 0.03 cm^3 (:py:func:`dose_at_cc`). D_2, D_50 and D_98 are the near-maximum, median and near-minimum
    dose of ICRU Report 83 (2010).

    Args:
        dose: in Gy, ``[D, *spatial]``, such as reference and prediction.
        structures: ``[S, *spatial]``, above 0.5 is inside; a channel with any NaN is unknown.
        names: of the S structures.
        voxel_volume: in mm^3.

    Returns:
        ``[D, S, 7]`` float64, columns as in :py:data:`STATISTICS`; NaN where a structure is unknown or empty, or dose
        in it is NaN (its volume is then still given).

    Raises:
        DataError: when shapes do not fit or the voxel volume is not a positive number.
    """
    table = np.full((len(dose), len(names), len(STATISTICS)), np.nan)
    for s, inside in enumerate(doses_in_structures(dose, structures, names, voxel_volume)):
        if inside.shape[1]:
            table[:, s, 0] = inside.shape[1] * voxel_volume / 1000
            for d, values in enumerate(inside):
                table[d, s, 1] = values.mean(dtype=np.float64)
                table[d, s, 2] = dose_at_cc(values, HOTTEST_CC, voxel_volume)
                table[d, s, 3:] = [dose_at_volume(values, percent) for percent in (2, 50, 95, 98)]
    return table


def v_at(
    dose: torch.Tensor,
    structures: torch.Tensor,
    names: Sequence[str],
    voxel_volume: float,
    levels: Sequence[float],
    prescription: float | None = None,
) -> VolumesAtDose:
    """V_x: the volume of each structure that receives at least each dose.

    Args:
        dose: in Gy, ``[D, *spatial]``.
        structures: ``[S, *spatial]``, above 0.5 is inside; a channel with any NaN is unknown.
        names: of the S structures.
        voxel_volume: in mm^3.
        levels: L doses; in Gy, or in per cent of ``prescription`` where that is given.
        prescription: in Gy.

    Returns:
        in per cent and in cm^3, each ``[D, S, L]`` float64; NaN where a structure is unknown or empty, or dose in it is
        NaN.

    Raises:
        DataError: when shapes do not fit, or voxel volume or prescription are not positive numbers.
    """
    gray = np.asarray(levels, dtype=np.float64)
    if prescription is not None:
        if not (math.isfinite(prescription) and prescription > 0):
            raise DataError(f"V_x: the prescription is {prescription}; give a positive dose in Gy.")
        gray = gray * prescription / 100
    percent = np.full((len(dose), len(names), gray.size), np.nan)
    volumes = np.full((len(names), 1), np.nan)
    for s, inside in enumerate(doses_in_structures(dose, structures, names, voxel_volume)):
        volumes[s] = inside.shape[1] * voxel_volume / 1000
        for d, values in enumerate(inside):
            percent[d, s] = 100 * dvh_curve(values, gray)
    return VolumesAtDose(percent, percent / 100 * volumes)


def dose_at_cc(doses: ArrayLike, cc: float, voxel_volume: float) -> float:
    """D_x cc: the dose that at least ``cc`` cm^3 of a structure receive.

    :py:func:`ctan_networks.radiotherapy.dose_at_volume` at that share of the volume: volumes are not rounded to whole
    voxels, other than in the D_0.1_cc of OpenKBP.

    Args:
        doses: of the structure's voxels, any shape; none: NaN.
        cc: volume in cm^3; more than the structure has: its minimum dose.
        voxel_volume: in mm^3.
    """
    volume = np.size(doses) * voxel_volume / 1000
    return dose_at_volume(doses, min(100.0, 100 * cc / volume)) if volume else math.nan


def homogeneity_index(doses: ArrayLike) -> float:
    """(D_2 - D_98) / D_50, 0 for a uniform dose. Source: ICRU Report 83 (2010).

    Args:
        doses: of a target's voxels, any shape; none, or a median of 0: NaN.
    """
    near_maximum, median, near_minimum = (dose_at_volume(doses, percent) for percent in (2, 50, 98))
    return (near_maximum - near_minimum) / median if median else math.nan


def paddick_conformity(dose: torch.Tensor, target: torch.Tensor, body: torch.Tensor | None, isodose: float) -> float:
    """Conformity index TV_PIV^2 / (TV PIV), 1 where the isodose is the target's surface.

    TV is the target's volume, PIV the volume within the isodose, TV_PIV what both have in common. Source: Paddick 2000,
    doi 10.3171/jns.2000.93.supplement_3.0219.

    Args:
        dose: in Gy, ``[*spatial]`` or ``[1, *spatial]``.
        target: of as many voxels, above 0.5 is inside; any NaN: unknown.
        body: of as many voxels, above 0 is inside: PIV is counted in the body and the target; None: everywhere.
        isodose: in Gy.

    Returns:
        0 to 1; 0 where the target does not reach the isodose; NaN where the target is unknown or empty, or dose is NaN
        where it is counted.

    Raises:
        DataError: when sizes differ or the isodose is not a positive number.
    """
    doses, channel = as_plain_array(dose).ravel(), as_plain_array(target).ravel()
    bodies = None if body is None else as_plain_array(body).ravel() > 0
    if doses.size != channel.size or (bodies is not None and bodies.size != doses.size):
        raise DataError("conformity: dose, target and body are not of one grid; resample them first.")
    if not (math.isfinite(isodose) and isodose > 0):
        raise DataError(f"conformity: the isodose is {isodose}; give a positive dose in Gy.")
    inside = channel > 0.5
    counted = np.ones_like(inside) if bodies is None else bodies | inside
    if np.isnan(channel).any() or not inside.any() or np.isnan(doses[counted]).any():
        return math.nan
    covered = (doses >= isodose) & counted
    common = int((covered & inside).sum())
    irradiated = int(covered.sum())
    return common**2 / (int(inside.sum()) * irradiated) if common else 0.0
