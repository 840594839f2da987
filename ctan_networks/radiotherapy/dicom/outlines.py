# SPDX-License-Identifier: Apache-2.0
"""Closed outlines in a plane: their area, whether two are the same, and whether two cross."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from scipy.spatial import cKDTree

__all__ = ["any_cross", "contour_area", "distinct_outlines"]

# Outlines closer than this are one outline, drawn or exported twice.
SAME_OUTLINE_MM = 0.3
# Points of an outline that are compared with another outline.
COMPARED = 200
# More outlines of one plane than anybody draws are not searched for crossings.
MOST_OUTLINES = 200


def contour_area(contour: np.ndarray) -> float:
    """Area of a closed planar contour by its first two coordinates, in their units squared."""
    x, y = (contour[:, :2] - contour[0, :2]).T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def distinct_outlines(outlines: Sequence[np.ndarray]) -> list[int]:
    """Positions of the outlines that are not an earlier one over again.

    Two are the same when each runs along the other, whatever point they start from, which way round they go, and
    however many points they have.

    Args:
        outlines: each ``[N, 2]`` in mm.

    """
    if len(outlines) == 1:
        return [0]
    # Copies first: there may be thousands.
    first = list({np.round(o, 2).tobytes(): k for k, o in reversed(list(enumerate(outlines)))}.values())[::-1]
    dropped: set[int] = set()
    for a, b in sorted(cKDTree(_boxes([outlines[k] for k in first])).query_pairs(SAME_OUTLINE_MM, p=np.inf)):
        if a not in dropped and _are_same(outlines[first[a]], outlines[first[b]]):
            dropped.add(b)
    return [k for n, k in enumerate(first) if n not in dropped]


def any_cross(outlines: Sequence[np.ndarray]) -> bool:
    """Whether an edge of one outline crosses an edge of another; outlines that only touch do not.

    Args:
        outlines: each ``[N, 2]``.

    """
    if not 1 < len(outlines) <= MOST_OUTLINES:
        return False
    boxes = _boxes(outlines)
    return any(
        (boxes[[a, b], :2].max(0) < boxes[[a, b], 2:].min(0)).all() and _cross(outlines[a], outlines[b])
        for a, b in combinations(range(len(outlines)), 2)
    )


def _boxes(outlines: Sequence[np.ndarray]) -> np.ndarray:
    return np.array([[*o.min(0), *o.max(0)] for o in outlines])


def _cross(one: np.ndarray, other: np.ndarray) -> bool:
    first, second = _sides(one, other), _sides(other, one)
    return bool(((first * np.roll(first, -1, axis=1) < 0) & (second * np.roll(second, -1, axis=1) < 0).T).any())


def _sides(outline: np.ndarray, points: np.ndarray) -> np.ndarray:
    """On which side of each edge each point lies: above, below or 0; ``[edges, points]``."""
    edges = np.roll(outline, -1, axis=0) - outline
    apart = points[None] - outline[:, None]
    return np.sign(np.round(edges[:, None, 0] * apart[..., 1] - edges[:, None, 1] * apart[..., 0], 6))


def _are_same(one: np.ndarray, other: np.ndarray) -> bool:
    return all(_distance(a, b) <= SAME_OUTLINE_MM for a, b in ((one, other), (other, one)))


def _distance(points: np.ndarray, outline: np.ndarray) -> float:
    """Of the points, some of them, the largest distance from the outline."""
    some = points[:: -(-len(points) // COMPARED)][:, None]
    edges = np.roll(outline, -1, axis=0) - outline
    share = ((some - outline) * edges).sum(-1) / np.maximum((edges**2).sum(-1), 1e-12)
    nearest = outline + np.clip(share, 0, 1)[..., None] * edges
    return float(np.linalg.norm(some - nearest, axis=-1).min(1).max())
