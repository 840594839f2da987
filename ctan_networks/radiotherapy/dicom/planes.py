# SPDX-License-Identifier: Apache-2.0
"""Which drawn contours belong to one plane, and where along the slices that plane lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.outlines import any_cross, contour_area, distinct_outlines

__all__ = ["MAX_GAP_MM", "Outside", "Planes", "find_planes", "plane_spacing"]

MAX_GAP_MM = 10.0
"""Slices without contours are filled where a structure's planes lie no further apart than this."""

# A contour counts as parallel to the slices when it leaves its plane by less than this part of a slice's thickness.
TILT_TOLERANCE = 0.2
# In slices: what lies closer was rounded.
ROUNDING = 0.03
TINY = 1e-3
# In slices: a structure whose contours lie around one offset from the slices by less than this was drawn on them.
ON_SLICES = 0.1
# In slices: planes further apart than this never share a slice.
ONE_SLICE = 0.95
# In mm: contours closer than this are of one plane, where the slices are not known.
SAME_PLANE_MM = 0.1
# The share of gaps, and of the height that they make up, by which planes count as evenly spaced.
EVEN = 0.8


class Outside(NamedTuple):
    """How much of a structure lies outside of an image.

    Attributes:
        beyond: whether all contours that are larger than a voxel's face lie beyond the first or the last slice.
        beside: which part of their points lies beside the pixels.

    """

    beyond: bool
    beside: float


@dataclass(frozen=True, eq=False)
class Planes:
    """The contours of one structure, sorted into planes.

    Attributes:
        positions: of the planes along the slices, ascending, in slices; ``[P]``.
        contours: for each plane, its contours at each height: ``[N, 2]`` positions (column, row), in voxels. Heights
            are several where the contours of a slice do not lie at one, the nearest to the plane's position first.
        dense: the planes lie evenly, and closer together than the slices do.
        usual: distance between neighbouring planes that at least half of them do not exceed, in slices.
        thickness: of a slice in mm.

    """

    positions: np.ndarray
    contours: list[list[list[np.ndarray]]]
    dense: bool
    usual: float
    thickness: float

    @property
    def reach(self) -> float:
        """How far from its position, in slices, a plane fills slices that have no nearer one."""
        return self.usual / 2 if 1 < self.usual <= MAX_GAP_MM / self.thickness else 0.5

    def nearest(self, k: int) -> int | None:
        """The plane that fills slice k; None where the slice stays empty."""
        away = self.positions - k
        found = int(np.argmin(np.abs(away)))
        # Between two planes that are near enough, rounding must not decide.
        above = int(np.searchsorted(self.positions, k))
        if 0 < above < len(away) and away[above] - away[above - 1] <= 2 * self.reach + ROUNDING:
            return found
        # A plane half way between two slices belongs to the upper one alone.
        return found if -self.reach - TINY <= away[found] < self.reach - TINY else None

    def of_slice(self, k: int) -> list[int]:
        """The planes within half a slice of slice k; one half way between two slices belongs to the upper one."""
        away = self.positions - k
        return np.flatnonzero((away >= -0.5 - TINY) & (away < 0.5 - TINY)).tolist()

    def open_gaps(self) -> tuple[int, float]:
        """Number of slices between the planes that are left empty, and the widest of those gaps in mm."""
        first, last = (int(np.ceil(p - TINY)) for p in self.positions[[0, -1]])
        empty = [k for k in range(first, last) if self.nearest(k) is None]
        above = np.searchsorted(self.positions, empty)
        gaps = (self.positions[above] - self.positions[above - 1]) * self.thickness if empty else np.zeros(1)
        return len(empty), float(gaps.max())

    def crossed(self) -> int:
        """Number of planes in which contours of one height cross one another: what two of them share is left out."""
        return sum(any(any_cross(level) for level in levels) for levels in self.contours)

    def outside(self, shape: tuple[int, int, int]) -> Outside:
        """What lies outside of an image of this shape (columns, rows, slices)."""
        planes = zip(self.positions, self.contours, strict=True)
        large = [(p, c) for p, levels in planes for level in levels for c in level if contour_area(c) >= 1]
        if not large:
            return Outside(False, 0.0)
        over = np.array([max(-0.5 - p, p - shape[2] + 0.5) for p, _ in large])
        points = np.concatenate([c for _, c in large])
        beside = ((points < -1.5) | (points > np.array(shape[:2]) + 0.5)).any(axis=1)
        return Outside(bool((over > ROUNDING).all()), float(beside.mean()))


def find_planes(contours: Sequence[np.ndarray], affine: np.ndarray) -> Planes:
    """Sort the contours of a structure into planes parallel to the slices of an image.

    Contours drawn on the slices, at one offset from them, or scattered by a part of a slice around them, make one plane
    a slice. Contours at evenly spaced heights of their own, as of a series with thinner or thicker slices, make one
    plane a height. Outlines of a plane that are the same count once, whatever point they start from, which way round
    they go, and however many points they have.

    Args:
        contours: each ``[N, 3]`` points in the coordinates to which ``affine`` leads, in mm; at least 3 points.
        affine: ``[4, 4]``, from (column, row, slice) to coordinates.

    Raises:
        DataError: when a contour is not parallel to the slices.

    """
    inverse = np.linalg.inv(affine)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    placed = [np.asarray(c, dtype=np.float64) @ inverse[:3, :3].T + inverse[:3, 3] for c in contours]
    if max(np.ptp(c[:, 2]) for c in placed) > TILT_TOLERANCE:
        raise DataError("its contours are not parallel to the CT's slices. Export the structures of this CT series.")
    heights = np.array([c[:, 2].mean() for c in placed])
    positions, members, dense = _sort_heights(heights)
    flat = [c[:, :2] for c in placed]
    planes = []
    for position, plane in zip(positions, members, strict=True):
        kept = [plane[k] for k in distinct_outlines([flat[m] * spacing[:2] for m in plane])]
        levels = sorted(_levels(heights[kept]), key=lambda level: abs(heights[kept][level].mean() - position))
        planes.append([[flat[kept[k]] for k in level] for level in levels])
    gaps = np.sort(np.diff(positions))
    usual = float(gaps[(len(gaps) - 1) // 2]) if len(gaps) else 1.0
    return Planes(positions, planes, dense, usual, float(spacing[2]))


def plane_spacing(contours: Sequence[np.ndarray]) -> float:
    """Usual distance between the planes of an axial structure, in mm: between contours that lie over one another.

    Args:
        contours: each ``[N, 3]`` points in mm, in planes of constant z.

    Returns:
        The median distance from a contour to the next one above that covers nearly the same place; where there is no
        such pair, between heights; 1 where there is one height.

    """
    heights = np.array([c[:, 2].mean() for c in contours])
    different = np.diff(np.unique(np.round(heights, 2)))
    order = np.argsort(heights, kind="stable")
    heights = heights[order]
    low = np.array([contours[k][:, :2].min(0) for k in order])
    high = np.array([contours[k][:, :2].max(0) for k in order])
    found = np.full(len(contours), np.inf)
    for step in range(1, min(len(contours), 64)):
        apart = heights[step:] - heights[:-step]
        shared = np.clip(np.minimum(high[step:], high[:-step]) - np.maximum(low[step:], low[:-step]), 0, None).prod(1)
        either = (high - low)[step:].prod(1) + (high - low)[:-step].prod(1) - shared
        over = (apart > SAME_PLANE_MM) & (shared > 0.5 * either)
        found[:-step] = np.where(over, np.minimum(found[:-step], apart), found[:-step])
    measured = found[np.isfinite(found)] if np.isfinite(found).any() else different
    return float(np.median(measured)) if len(measured) else 1.0


def _sort_heights(heights: np.ndarray) -> tuple[np.ndarray, list[np.ndarray], bool]:
    """Positions of planes, which contours belong to each, and whether the planes are dense."""
    levels = _levels(heights)
    means = np.array([heights[level].mean() for level in levels])
    gaps = np.diff(means)
    # The widest part of a slice's thickness in which no contour lies, in any slice: planes are cut apart there.
    phases = np.unique(np.mod(heights, 1))
    free = np.diff(np.append(phases, phases[0] + 1))
    widest = int(free.argmax())
    blurred = max(np.ptp(heights[level]) for level in levels) > ON_SLICES
    dense = bool((gaps < ONE_SLICE).any())
    if 1 - free[widest] > ON_SLICES and not blurred and (not dense or _are_even(gaps)):
        return means, levels, dense
    cut = phases[widest] + free[widest] / 2
    slices = np.floor(heights - cut)
    found = np.unique(slices)
    return np.round(found + cut + 0.5, 3), [np.flatnonzero(slices == s) for s in found], False


def _levels(heights: np.ndarray) -> list[np.ndarray]:
    """Indices of the contours at each height, ascending."""
    order = np.argsort(heights, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(heights[order]) > ROUNDING) + 1)


def _are_even(gaps: np.ndarray) -> bool:
    """Whether gaps of up to a slice are alike, as between slices of another series; wider ones lie between parts."""
    near = gaps[gaps <= 2 - ONE_SLICE]
    usual = np.median(near)
    alike = np.abs(near - usual) <= 0.1 * usual + 0.01
    return bool(usual < ONE_SLICE and alike.mean() >= EVEN and near[alike].sum() >= EVEN * near.sum())
