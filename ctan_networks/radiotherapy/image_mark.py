# SPDX-License-Identifier: Apache-2.0
"""Which image results belong to, said so that nobody can read off whose image it is: salted hashes."""

from __future__ import annotations

import secrets
from hashlib import pbkdf2_hmac, sha256
from typing import Any

import nibabel as nib
import numpy as np

from ctan_networks.errors import DataError

__all__ = ["SERIES", "VOXELS", "is_marked", "mark", "series_content", "voxel_content"]

# What an image can be marked by: key of a reader's metadata, and of a case's result.
SERIES, VOXELS = "series", "voxels"

METHOD = "pbkdf2_sha256"
# UIDs hold dates and counters: without a salt, and at the speed of a plain hash, they could be tried.
ROUNDS = 100_000
# Readers agree on HU in this range; outside of it some clip.
LOWEST_HU, HIGHEST_HU = -1000, 3000


def mark(content: bytes) -> str:
    """A salted hash by which only who has the content can tell that it is the same: ``method$rounds$salt$hash``."""
    salt = secrets.token_bytes(16)
    return f"{METHOD}${ROUNDS}${salt.hex()}${_hash(content, salt, ROUNDS)}"


def is_marked(content: bytes, stated: Any) -> bool:
    """Whether a mark that :py:func:`mark` made is that of the content.

    Raises:
        DataError: when it is no such mark.

    """
    try:
        method, rounds, salt, digest = str(stated).split("$")
        if method != METHOD or not 0 < int(rounds) <= 100 * ROUNDS:
            raise ValueError
        return secrets.compare_digest(_hash(content, bytes.fromhex(salt), int(rounds)), digest)
    except (ValueError, TypeError):
        raise DataError(f"{str(stated)[:40]!r} is no mark of an image ({METHOD}$rounds$salt$hash).") from None


def series_content(uid: str) -> bytes:
    """What a DICOM series is marked by."""
    return f"series {uid}".encode()


def voxel_content(hu: np.ndarray, affine: np.ndarray) -> bytes:
    """What a CT is marked by that names no series: its voxels, whatever the order of its axes.

    Args:
        hu: ``[a, b, c]`` in HU.
        affine: ``[4, 4]``, from its indices to RAS coordinates in mm.

    """
    turned = nib.orientations.apply_orientation(hu, nib.io_orientation(affine))
    whole = np.rint(np.clip(turned, LOWEST_HU, HIGHEST_HU)).astype("<i2")
    return sha256(np.ascontiguousarray(whole).tobytes() + str(whole.shape).encode()).digest()


def _hash(content: bytes, salt: bytes, rounds: int) -> str:
    return pbkdf2_hmac("sha256", content, salt, rounds).hex()
