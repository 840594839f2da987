# SPDX-License-Identifier: Apache-2.0
"""Contours that do not lie where a slice is, or not once: the volume is that of the areas that were drawn."""

from __future__ import annotations

import numpy as np
import pytest

from ctan_networks.radiotherapy.dicom.contour_dvh import contour_dvh
from ctan_networks.radiotherapy.dicom.planes import find_planes, plane_spacing
from ctan_networks.radiotherapy.dicom.rasterise import rasterise
from ctan_networks.radiotherapy.dicom.rtdose import DoseGrid
from ctan_networks.radiotherapy.dicom.rtstruct import Structure

# Pixels of 1 mm, slices of 3 mm.
AFFINE, SHAPE = np.diag([1.0, 1.0, 3.0, 1.0]), (120, 60, 24)
# Area of a regular polygon of 60 corners.
SLICE, AREA = 3.0, 30 * np.sin(np.pi / 30) * 10**2


def disc(z: float, x: float = 30.0, radius: float = 10.0, points: int = 60) -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([x + radius * np.cos(t), 30 + radius * np.sin(t), np.full(points, z)], 1)


def volume(contours: list[np.ndarray]) -> float:
    return rasterise(contours, AFFINE, SHAPE, supersampling=4).sum() * SLICE


def slices(contours: list[np.ndarray]) -> list[int]:
    return np.flatnonzero(rasterise(contours, AFFINE, SHAPE).any(axis=(0, 1))).tolist()


COPIES = {
    "exact": lambda c: c.copy(),
    "another first point": lambda c: np.roll(c, 17, axis=0),
    "the other way round": lambda c: c[::-1],
    "closed": lambda c: np.concatenate([c, c[:1]]),
    "rounded": lambda c: np.round(c + 1e-4, 1),
    "with points between": lambda c: np.stack([c, (c + np.roll(c, -1, 0)) / 2], 1).reshape(-1, 3),
    "a quarter of a millimetre higher": lambda c: c + np.array([0, 0, 0.25]),
}


@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize("every", [1, 3])
def test_an_outline_that_stands_twice_counts_once(copy, every):
    # A ring: its hole stands twice too.
    ring = [c for k in range(4, 12) for c in (disc(3 * k), disc(3 * k, radius=4))]
    again = [COPIES[copy](c) for c in ring[::every]]
    assert np.array_equal(rasterise(ring + again, AFFINE, SHAPE), rasterise(ring, AFFINE, SHAPE))


def test_a_thin_wall_is_not_an_outline_that_stands_twice():
    fine = rasterise([disc(9), disc(9, radius=9.5)], AFFINE, SHAPE, supersampling=8).sum()
    assert fine == pytest.approx(np.pi * (10**2 - 9.5**2), rel=0.05)


@pytest.mark.parametrize("higher", [0.0, 0.4, 0.9, 1.5, -0.7], ids=lambda mm: f"the second part {mm} mm higher")
def test_parts_a_fraction_of_a_slice_apart_are_both_filled(higher):
    parts = [c for k in range(4, 12) for c in (disc(3 * k, 30), disc(3 * k + higher, 90))]
    assert volume(parts) == pytest.approx(2 * 8 * SLICE * AREA, rel=0.02)
    assert slices(parts) in ([*range(4, 12)], [*range(5, 13)], [*range(4, 13)])


@pytest.mark.parametrize("seed", range(3))
def test_contours_scattered_around_their_slices(seed):
    rng = np.random.default_rng(seed)
    parts = [disc(3 * k + rng.uniform(-0.6, 0.6), x) for k in range(4, 14) for x in (20, 50, 80)]
    assert volume(parts) == pytest.approx(3 * 10 * SLICE * AREA, rel=0.02)


def test_holes_a_fraction_of_a_slice_off_their_outline():
    parts = [c for k in range(4, 12) for c in (disc(3 * k + 0.3), disc(3 * k - 0.3, 32, 5))]
    assert volume(parts) == pytest.approx(8 * SLICE * AREA * 0.75, rel=0.02)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("degrees", [0.1, 0.2, 0.4])
def test_parts_of_a_series_that_is_rolled_or_pitched(axis, degrees):
    parts = []
    for k in range(4, 12):
        for part in (disc(3 * k, 15), disc(3 * k, 18, 4), disc(3 * k, 105)):
            tilted = part.copy()
            tilted[:, 2] += np.tan(np.deg2rad(degrees)) * (part[:, axis] - (60, 30)[axis])
            parts.append(tilted)
    assert volume(parts) == pytest.approx(8 * SLICE * (2 - 0.16) * AREA, rel=0.02)


@pytest.mark.parametrize("offset", np.arange(0, 3, 0.15).round(2))
def test_contours_between_the_slices(offset):
    """As many slices as contours, whatever the offset, and within the rounding of what a planning system writes."""
    rng = np.random.default_rng(0)
    contours = [disc(3 * k + offset + rng.uniform(-0.005, 0.005)) for k in range(4, 12)]
    filled = slices(contours)
    assert len(filled) == 8 and filled == list(range(filled[0], filled[0] + 8))
    assert abs(3 * filled[0] - (12 + offset)) <= 1.5 + 0.01


@pytest.mark.parametrize("distance", [1.0, 1.2, 2.0, 2.5, 2.9, 3.1, 3.6, 4.0, 5.0, 6.0, 7.5, 9.0])
@pytest.mark.parametrize("offset", [0.0, 0.7])
def test_planes_of_another_series(distance, offset):
    """A sphere, drawn on slices of another thickness."""
    heights = np.arange(-24 + offset, 24, distance)
    contours = [disc(36 + z, radius=float(np.sqrt(24.5**2 - z**2))) for z in heights]
    drawn = sum(np.pi * (24.5**2 - z**2) for z in heights) * distance
    # A plane more or less where the two distances are out of step, one through the middle at worst.
    assert volume(contours) == pytest.approx(drawn, abs=SLICE * np.pi * 24.5**2 if 2 < distance < 4 else drawn * 0.06)
    filled = slices(contours)
    assert filled == list(range(filled[0], filled[-1] + 1))


def test_a_part_that_only_planes_between_the_slices_show():
    dense = [disc(z) for z in np.arange(12, 33, 1.5)]
    with_part = [*dense, *(disc(z, 90) for z in np.arange(13.5, 33, 3))]
    assert volume(with_part) - volume(dense) == pytest.approx(7 * SLICE * AREA, rel=0.02)


@pytest.mark.parametrize(
    ("planes", "filled", "empty", "widest"),
    [
        ([3, 4, 17, 22], [3, 4, 17, 22], 16, 39.0),
        ([3, 20], [3, 20], 16, 51.0),
        ([3, 8, 13, 18], [3, 8, 13, 18], 12, 15.0),
        ([3, 4, 5, 7, 8, 9], [3, 4, 5, 7, 8, 9], 1, 6.0),
        ([3, 6, 9, 12], [*range(2, 14)], 0, 0.0),
        ([3, 5, 7, 16, 18], [3, 4, 5, 6, 7, 8, 16, 17, 18, 19], 7, 27.0),
    ],
)
def test_gaps_are_filled_up_to_the_limit_and_counted(planes, filled, empty, widest):
    contours = [disc(3 * k) for k in planes]
    assert slices(contours) == filled
    found, millimetres = find_planes(contours, AFFINE).open_gaps()
    assert (found, millimetres) == (empty, pytest.approx(widest))


def test_distance_of_planes_and_the_dvh_of_a_structure_in_parts():
    parts = [c for k in range(4, 12) for c in (disc(3 * k, 30), disc(3 * k + 0.49, 90))]
    assert plane_spacing(parts) == pytest.approx(3.0)
    grid = DoseGrid(np.ones((70, 40, 30), np.float32), np.diag([2.0, 2.0, 3.0, 1.0]), np.arange(30) * 3.0, "")
    found = contour_dvh(Structure(1, "nodes", "", tuple(parts), ""), grid)
    assert found.total == pytest.approx(2 * 8 * SLICE * AREA / 1000, rel=0.01)
    assert plane_spacing([disc(5)]) == 1.0 and plane_spacing([disc(5), disc(9, 90)]) == 4.0
