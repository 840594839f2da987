# SPDX-License-Identifier: Apache-2.0
"""Whether a volume is a CT in Hounsfield units: the one check for whatever a CT was stored as."""

from __future__ import annotations

import os

import numpy as np

from ctan_networks.errors import DataError

__all__ = ["as_hounsfield"]

AIR_HU = -1024.0
# Nothing in a CT is lower than air, but for noise and streaks; lungs are denser.
LOWEST_AIR, HIGHEST_AIR = -1124.0, -800.0
LOWER_THAN_AIR = -1250.0
# The body without lungs, of which most is soft tissue: fat, water, muscle and organs.
BODY = -400.0
SOFT_TISSUE = (-150.0, 100.0)
# From fat to the blurred surface of the skin.
BOUNDARIES = (-700.0, -30.0)
# What 16 signed bits hold; implants reach 30,000 HU in extended scales.
MAX_HU = 32767.0
# Shares. Of 35 OpenKBP patients at least 0.86 are air, and 0.73 to 0.87 of the body soft tissue; shifted by 200 HU or
# more at most 0.37.
SOME_AIR, MOST_TISSUE, SOME_FAT, FEW = 0.01, 0.5, 0.0002, 0.05
VOXELS = 4_000_000


def as_hounsfield(ct: np.ndarray, where: str | os.PathLike) -> np.ndarray:
    """Check that a volume is a CT in HU, and turn into air what is lower, that is padding.

    Scanners and converters fill what lies outside of the field of view with one value below -1024 (-2000, -3024,
    -32768). What is not in HU (stored values without their offset, 8 bits, values from 0 to 1, standardised ones,
    another modality) shows by its histogram: a CT in HU has air near -1000 and soft tissue around 0.

    Args:
        ct: the volume, with the air around the patient or padding in its place.
        where: what errors name.

    Returns:
        The volume with no value below -1024; the array itself where it has none.

    Raises:
        DataError: says what a CT in HU has and this volume has not.

    """
    lowest, highest = float(ct.min()), float(ct.max())
    wrong = _difference(ct, lowest, highest)
    if wrong:
        raise DataError(
            f"{where}: this is no CT in Hounsfield units (air -1000, water 0): {wrong}. Its values lie between"
            f" {lowest:g} and {highest:g}. Give the CT in HU; if it was converted, convert it again with the scanner's"
            " rescale slope and intercept."
        )
    return ct if lowest >= AIR_HU else np.maximum(ct, ct.dtype.type(AIR_HU))


def _difference(ct: np.ndarray, lowest: float, highest: float) -> str:
    """What sets a volume apart from a CT in HU; empty for a CT in HU."""
    if highest > MAX_HU:
        return "values this high are padding that was read as numbers"
    step = max(1, round((ct.size / VOXELS) ** (1 / 3)))
    sample = ct[(slice(None, None, step),) * ct.ndim].ravel()
    # Padding is one value, the lowest.
    padding = np.count_nonzero(sample == lowest) if lowest < LOWEST_AIR else 0
    values = sample[sample > lowest] if padding else sample
    if not len(values):
        return "all values are the same"

    def share(low: float, high: float) -> float:
        return float(np.count_nonzero((values >= low) & (values <= high)) / len(values))

    if share(-np.inf, LOWER_THAN_AIR) > FEW:
        return "much of it is lower than air"
    masked = padding > SOME_AIR * len(sample) and share(*BOUNDARIES) > SOME_FAT
    if share(LOWEST_AIR, HIGHEST_AIR) < SOME_AIR and not masked:
        return "it has no air"
    if share(*SOFT_TISSUE) < MOST_TISSUE * share(BODY, np.inf) or not share(*SOFT_TISSUE):
        return "most of the body is denser or less dense than soft tissue"
    filling = _filling(ct)
    if filling is not None:
        return f"its edges are filled with {filling:g}, where air would be; fill with {AIR_HU:g}"
    return ""


def _filling(ct: np.ndarray) -> float | None:
    """The value higher than air that most of the volume's twelve edges have, as resampling fills them; None if none."""
    if ct.ndim != 3 or min(ct.shape) < 2:
        return None
    ends = [(0, -1)] * 3
    edges = [ct[:, y, z] for y in ends[1] for z in ends[2]]
    edges += [ct[x, :, z] for x in ends[0] for z in ends[2]]
    edges += [ct[x, y, :] for x in ends[0] for y in ends[1]]
    values, counts = np.unique(np.concatenate([np.asarray(edge) for edge in edges]), return_counts=True)
    most = counts.argmax()
    filled = counts[most] > 0.5 * counts.sum() and values[most] > HIGHEST_AIR
    return float(values[most]) if filled else None
