# SPDX-License-Identifier: Apache-2.0
"""From contours to voxels: even-odd filling of planar contours on the grid of an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import label

from ctan_networks.radiotherapy.dicom.planes import MAX_GAP_MM, Planes, find_planes

__all__ = ["MAX_GAP_MM", "fill_contours", "fill_planes", "rasterise"]

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

    Contours are placed by their coordinates, not by the images they name; see
    :py:func:`ctan_networks.radiotherapy.dicom.planes.find_planes` for how they are sorted into planes, and
    :py:func:`fill_planes` for the rest.

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
    if not contours:
        return np.zeros(shape, dtype=bool if supersampling == 1 else np.float32)
    return fill_planes(find_planes(contours, affine), shape, supersampling)


def fill_planes(planes: Planes, shape: tuple[int, int, int], supersampling: int = 1) -> np.ndarray:
    """Fill a structure's planes on an image's grid.

    Each slice takes the plane next to it, if that is no further than half a slice, or, in a structure whose planes
    usually lie further apart than the slices, but not by more than :py:data:`MAX_GAP_MM`, half that distance: so a
    structure drawn on every second slice has no gaps, and one whose planes lie between the slices is shifted by less
    than half a slice. Where the planes are denser than the slices, a part that the next plane does not show is taken
    from the others of that slice.

    Args:
        planes: of the structure.
        shape: columns, rows and slices of the grid.
        supersampling: see :py:func:`rasterise`.

    Returns:
        As :py:func:`rasterise`.

    """
    out = np.zeros(shape, dtype=bool if supersampling == 1 else np.float32)
    columns, rows = (((np.arange(n * supersampling) + 0.5) / supersampling) - 0.5 for n in shape[:2])
    for k in range(shape[2]):
        nearest = planes.nearest(k)
        if nearest is None:
            continue
        inside = _fill_levels(planes.contours[nearest], columns, rows)
        for other in planes.of_slice(k) if planes.dense else ():
            if other != nearest:
                parts, _ = label(_fill_levels(planes.contours[other], columns, rows))
                inside |= (parts > 0) & ~np.isin(parts, parts[inside])
        if supersampling > 1:
            out[:, :, k] = inside.reshape(shape[0], supersampling, shape[1], supersampling).mean(axis=(1, 3))
        else:
            out[:, :, k] = inside
    return out


def _fill_levels(levels: Sequence[Sequence[np.ndarray]], columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Fill the contours of one slice, which may lie at several heights, the nearest first.

    Contours of different heights that cover about the same place, or cross, are of different planes of one part: the
    nearer ones stand for it. What lies apart is another part, and what lies well inside is a hole.
    """
    if len(levels) == 1:
        return fill_contours(levels[0], columns, rows)
    kept: list[tuple[int, np.ndarray]] = []
    for height, level in enumerate(levels):
        for contour in level:
            mask = fill_contours([contour], columns, rows)
            if not any(_is_other_plane(mask, nearer) for h, nearer in kept if h != height):
                kept.append((height, mask))
    return np.logical_xor.reduce([mask for _, mask in kept])


def _is_other_plane(one: np.ndarray, other: np.ndarray) -> bool:
    shared = int(np.count_nonzero(one & other))
    small, large = sorted((int(np.count_nonzero(one)), int(np.count_nonzero(other))))
    return 0 < shared < small or 2 * shared > large
