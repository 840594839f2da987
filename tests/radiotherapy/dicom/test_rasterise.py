# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from matplotlib.path import Path as Polygon

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.rasterise import fill_contours, rasterise


def square(low: float, high: float, z: float) -> np.ndarray:
    return np.array([[low, low, z], [high, low, z], [high, high, z], [low, high, z]])


def test_a_polygon_is_filled_as_matplotlib_says():
    rng = np.random.default_rng(0)
    for _ in range(20):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 40))
        radii = rng.uniform(3, 12, 40)  # a star: concave, with spikes thinner than a voxel
        polygon = np.stack([15 + radii * np.cos(angles), 14 + radii * np.sin(angles)], 1)
        columns, rows = np.arange(30) + 0.123, np.arange(28) - 0.217
        points = np.stack(np.meshgrid(columns, rows, indexing="ij"), -1).reshape(-1, 2)
        expected = Polygon(polygon).contains_points(points).reshape(30, 28)
        assert np.array_equal(fill_contours([polygon], columns, rows), expected)


def test_holes_islands_and_parts_by_even_odd():
    shape, affine = (20, 20, 1), np.eye(4)
    contours = [square(0.5, 16.5, 0), square(3.5, 12.5, 0), square(6.5, 9.5, 0), square(17.5, 19.4, 0)]
    mask = rasterise(contours, affine, shape)[:, :, 0]
    expected = np.zeros((20, 20), bool)
    expected[1:17, 1:17] = True
    expected[4:13, 4:13] = False
    expected[7:10, 7:10] = True
    expected[18:20, 18:20] = True
    assert np.array_equal(mask, expected)


def test_a_keyhole_is_the_same_as_two_contours():
    outer, inner = square(0.5, 16.5, 0), square(3.5, 12.5, 0)
    keyhole = np.concatenate([outer, outer[:1], inner[:1], inner[::-1], inner[:1], outer[:1]])
    two = rasterise([outer, inner], np.eye(4), (20, 20, 1))
    assert np.array_equal(rasterise([keyhole], np.eye(4), (20, 20, 1)), two)


def test_neighbours_that_share_an_edge_share_no_voxel():
    left = np.array([[0, 0, 0], [5, 0, 0], [5, 10, 0], [0, 10, 0]], float)
    right = left + np.array([5, 0, 0])
    one, other = (rasterise([c], np.eye(4), (12, 12, 1)) for c in (left, right))
    assert not (one & other).any()
    assert (one | other).sum() == rasterise([left, right], np.eye(4), (12, 12, 1)).sum() == 100


def test_positions_are_right_to_a_part_of_a_voxel():
    """The centroid of a disc, through an anisotropic and turned geometry."""
    affine = np.array([[0, -0.8, 0, 31.3], [1.1, 0, 0, -7.2], [0, 0, 2.5, 100.0], [0, 0, 0, 1]])
    centre = (affine @ [20.37, 24.61, 3, 1])[:3]
    t = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    disc = centre + 8 * np.stack([np.cos(t), np.sin(t), 0 * t], 1)
    cover = rasterise([disc], affine, (40, 50, 6), supersampling=8)
    where = np.array(np.nonzero(cover))
    found = (where * cover[tuple(where)]).sum(1) / cover.sum()
    assert np.allclose(found, [20.37, 24.61, 3], atol=0.005)
    assert cover.sum() * 0.8 * 1.1 == pytest.approx(np.pi * 64, rel=2e-3)


def test_a_structure_on_every_second_slice_has_no_gaps_and_ends_where_it_ends():
    contours = [square(2.5, 6.5, z) for z in (4.0, 6.0, 8.0)]
    filled = rasterise(contours, np.eye(4), (10, 10, 14)).any(axis=(0, 1))
    assert np.flatnonzero(filled).tolist() == [4, 5, 6, 7, 8, 9] or np.flatnonzero(filled).tolist() == [
        3,
        4,
        5,
        6,
        7,
        8,
    ]
    # Two separate parts stay separate.
    contours = [square(2.5, 6.5, z) for z in (1.0, 2.0, 3.0, 9.0, 10.0)]
    filled = rasterise(contours, np.eye(4), (10, 10, 14)).any(axis=(0, 1))
    assert np.flatnonzero(filled).tolist() == [1, 2, 3, 9, 10]


def test_contours_across_slices_are_refused():
    tilted = square(2, 8, 3.0)
    tilted[2:, 2] += 1
    with pytest.raises(DataError, match="not parallel"):
        rasterise([tilted], np.eye(4), (10, 10, 10))
