# SPDX-License-Identifier: Apache-2.0
"""Unpack a bundle, and check it."""

from __future__ import annotations

from ctan_networks.export.unpack import unpack_bundle

__all__ = ["unpack"]


def unpack(archive: str, output_dir: str = ".") -> str:
    """Unpack a packed bundle without trust in the archive, and check every file against its ``SHA256SUMS``.

    Args:
        archive: the zip.
        output_dir: folder in which the bundle's folder is made.

    """
    return str(unpack_bundle(archive, output_dir))
