# SPDX-License-Identifier: Apache-2.0
"""From contours to voxels: even-odd filling of planar contours on the grid of an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ctan_networks.errors import DataError

__all__ = ["fill_contours", "rasterise"]

# A contour counts as parallel to the slices when it leaves its plane by less than this part of a slice's thickness.
TILT_TOLERANCE = 0.2
# Crossings of edges and lines that are looked at together; no drawn contour has as many.
CROSSINGS = 1 << 20


def fill_contours(contours: Sequence[np.ndarray], columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Which points of a plane lie inside closed contours, by the even-odd rule.

    A point inside one contour is in, inside two (a hole) is out, inside three (an island in a hole) in again; so
    holes, several parts, and keyholes that join a hole to the outline all come out as drawn. Points on an edge belong
    to one of two contours that share it, never to both.

    Args:
        contours: each ``[N, 2]`` (column, row) positions; the last point is joined to the first.
        columns: ascending positions ``[I]`` of the points along the columns' axis.
        rows: ascending positions ``[J]`` along the rows' axis.

    Returns:
        bool ``[I, J]``.

    """
    # Along each line of constant row position, a crossing toggles all points behind it.
    toggles = np.zeros((len(rows), len(columns) + 1), dtype=np.int32)
    for contour in contours:
        start, end = contour, np.roll(contour, -1, axis=0)
        upward = start[:, 1] <= end[:, 1]
        low = np.where(upward[:, None], start, end)
        high = np.where(upward[:, None], end, start)
        # An edge meets the lines from its lower end, included, to its upper end, excluded.
        first = np.searchsorted(rows, low[:, 1], side="left")
        count = np.searchsorted(rows, high[:, 1], side="left") - first
        for some in _parts(count):
            edge = np.repeat(some, count[some])
            line = np.arange(len(edge)) - np.repeat(np.cumsum(count[some]) - count[some], count[some]) + first[edge]
            share = (rows[line] - low[edge, 1]) / (high[edge, 1] - low[edge, 1])
            crossing = low[edge, 0] + share * (high[edge, 0] - low[edge, 0])
            np.add.at(toggles, (line, np.searchsorted(columns, crossing, side="left")), 1)
    return (np.cumsum(toggles[:, :-1], axis=1) % 2 == 1).T


def _parts(count: np.ndarray) -> list[np.ndarray]:
    """Edges in groups that together cross some million lines: a contour may go up and down ten thousand times."""
    edges = np.arange(len(count))
    total = np.cumsum(count)
    if total[-1] <= CROSSINGS:
        return [edges]
    return np.split(edges, np.searchsorted(total, np.arange(CROSSINGS, total[-1], CROSSINGS)))


def rasterise(
    contours: Sequence[np.ndarray], affine: np.ndarray, shape: tuple[int, int, int], supersampling: int = 1
) -> np.ndarray:
    """Fill the contours of one structure on an image's grid.

    Contours are placed by their coordinates, not by the images they name. Each slice takes the contours of the plane
    next to it, if that is no further than half the distance between the structure's planes (and at least half a
    slice): so a structure drawn on every second slice has no gaps, and one whose planes lie between the slices is
    shifted by less than half a slice.

    Args:
        contours: each ``[N, 3]`` points in the coordinates to which ``affine`` leads, in mm; at least 3 points.
        affine: ``[4, 4]``, from (column, row, slice) to coordinates.
        shape: columns, rows and slices of the grid.
        supersampling: points a voxel along columns and along rows. 1: a voxel is in when its centre is.

    Returns:
        float32 ``[*shape]``: the part of each voxel's area that is inside, 0 to 1; with ``supersampling`` 1, bool.

    Raises:
        DataError: when a contour is not parallel to the slices.

    """
    out = np.zeros(shape, dtype=bool if supersampling == 1 else np.float32)
    if not contours:
        return out
    inverse = np.linalg.inv(affine)
    placed = [np.asarray(c, dtype=np.float64) @ inverse[:3, :3].T + inverse[:3, 3] for c in contours]
    heights = np.array([c[:, 2].mean() for c in placed])
    if max(np.ptp(c[:, 2]) for c in placed) > TILT_TOLERANCE:
        raise DataError("its contours are not parallel to the CT's slices. Export the structures of this CT series.")
    # Planes as they are drawn: positions closer than a tenth of a slice are one.
    rounded = np.round(heights, 1)
    planes = np.unique(rounded)
    members: dict[float, list[np.ndarray]] = {}
    for contour, height in zip(placed, rounded.tolist(), strict=True):
        members.setdefault(height, []).append(contour[:, :2])
    reach = max(0.5, float(np.median(np.diff(planes))) / 2 if len(planes) > 1 else 0.5)
    fine = [((np.arange(n * supersampling) + 0.5) / supersampling) - 0.5 for n in shape[:2]]
    for k in range(shape[2]):
        nearest = planes[np.argmin(np.abs(planes - k))]
        # A plane half way between two slices belongs to the upper one alone, as far as the reach is half a slice.
        if not -reach <= nearest - k < reach:
            continue
        inside = fill_contours(members[float(nearest)], fine[0], fine[1])
        if supersampling > 1:
            blocks = inside.reshape(shape[0], supersampling, shape[1], supersampling)
            out[:, :, k] = blocks.mean(axis=(1, 3))
        else:
            out[:, :, k] = inside
    return out
