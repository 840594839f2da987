# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from ctan_networks.datasets.ham10000.duplicates import merge_groups, near_pairs


def test_near_pairs_are_those_of_a_plain_loop():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, (60, 4), dtype=np.uint64)
    hashes[7] = hashes[3] ^ np.array([0b1011, 0, 1, 0], np.uint64)
    hashes[50] = hashes[51]
    expected = [
        (i, j)
        for i in range(60)
        for j in range(i + 1, 60)
        if sum(bin(int(a) ^ int(b)).count("1") for a, b in zip(hashes[i], hashes[j], strict=True)) <= 4
    ]
    assert expected == [(3, 7), (50, 51)]
    assert sorted(map(tuple, near_pairs(hashes, distance=4, block=16).tolist())) == expected
    assert near_pairs(hashes[:0]).shape == (0, 2)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([], ["a", "a", "b", "c", "d"]),
        ([(1, 3)], ["a", "a", "b", "a", "d"]),
        # Over the group of a: c and d meet though no pair holds both.
        ([(0, 3), (1, 4)], ["a", "a", "b", "a", "a"]),
        ([(2, 3), (3, 4)], ["a", "a", "b", "b", "b"]),
    ],
)
def test_merged_groups(pairs, expected):
    assert merge_groups(["a", "a", "b", "c", "d"], np.array(pairs, int).reshape(-1, 2)) == expected
