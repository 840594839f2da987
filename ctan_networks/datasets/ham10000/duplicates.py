# SPDX-License-Identifier: Apache-2.0
"""Images that are the same picture under two names, found by a perceptual hash."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ctan_networks.errors import ConfigError

__all__ = ["merge_groups", "near_pairs", "perceptual_hash"]

HASH_SIDE = 16


def perceptual_hash(image: Image.Image) -> np.ndarray:
    """256-bit DCT hash (``imagehash.phash``): hardly changed by scaling, compression or a change of light.

    Returns:
        ``[4]`` uint64.

    Raises:
        ConfigError: when ImageHash is not installed.

    """
    try:
        import imagehash
    except ImportError:
        raise ConfigError(
            "finding duplicate images needs ImageHash: pip install ImageHash; or pass inspect=None."
        ) from None
    return np.packbits(imagehash.phash(image, hash_size=HASH_SIDE).hash.ravel()).view(np.uint64)


def near_pairs(hashes: np.ndarray, distance: int = 40, block: int = 512) -> np.ndarray:
    """Pairs of hashes that differ in few bits.

    Args:
        hashes: ``[n, 4]`` uint64.
        distance: greatest number of differing bits of 256. Among the 10,015 images of HAM10000 and 2,694 of ISIC 2018
            Task 1, pairs of different lesions are rare up to 40 (36 pairs) and become common from 50 on (100).
        block: rows compared at once.

    Returns:
        ``[pairs, 2]`` indices, the first less than the second.

    """
    found = []
    for start in range(0, len(hashes), block):
        rows = hashes[start : start + block]
        bits = np.zeros((len(rows), len(hashes)), np.uint16)
        for word in range(hashes.shape[1]):
            bits += _popcount(rows[:, word, None] ^ hashes[None, :, word])
        i, j = np.nonzero(bits <= distance)
        i = i + start
        found.append(np.stack([i, j], 1)[i < j])
    return np.concatenate(found) if found else np.empty((0, 2), int)


def _popcount(words: np.ndarray) -> np.ndarray:
    if hasattr(np, "bitwise_count"):
        return np.bitwise_count(words)
    # NumPy 1 has none.
    return np.unpackbits(words[..., None].view(np.uint8), axis=-1).sum(-1, dtype=np.uint16)


def merge_groups(groups: Sequence[str], pairs: np.ndarray) -> list[str]:
    """Give images that are linked by a pair, directly or over others, or by their group, one group.

    Args:
        groups: name of the group of each image.
        pairs: ``[pairs, 2]`` indices of images.

    Returns:
        Name of the group of each image: the name of the first group, in the order of the list, of those merged.

    """
    names = list(dict.fromkeys(groups))
    index = {name: k for k, name in enumerate(names)}
    own = np.array([index[g] for g in groups], int)
    i, j = own[pairs[:, 0]], own[pairs[:, 1]]
    links = coo_array((np.ones(len(i)), (i, j)), shape=(len(names), len(names)))
    _, component = connected_components(links, directed=False)
    first = {c: k for k, c in reversed(list(enumerate(component)))}
    return [names[first[component[k]]] for k in own]
