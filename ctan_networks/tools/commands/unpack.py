# SPDX-License-Identifier: Apache-2.0
"""Unpack a bundle, and check it."""

from __future__ import annotations

import logging

from ctan_networks.tools.packing.inspection import inspect_bundle
from ctan_networks.tools.packing.unpack import unpack_bundle

__all__ = ["unpack"]

logger = logging.getLogger(__name__)


def unpack(archive: str, output_dir: str = ".") -> str:
    """Unpack a packed bundle without trust in the archive, and check every file against its ``SHA256SUMS``.

    The sums say that the archive is whole, not who made it: what its configurations would execute beyond the ordinary
    is told (see ``inspect``).

    Args:
        archive: the zip.
        output_dir: folder in which the bundle's folder is made.

    """
    bundle = unpack_bundle(archive, output_dir)
    strange = len(inspect_bundle(bundle).strange)
    if strange:
        logger.warning(
            "%s: %d entries or files are outside of what bundles ordinarily execute. Before you run it, look at them:"
            " python -m ctan_networks inspect %s",
            bundle,
            strange,
            bundle,
        )
    return str(bundle)
