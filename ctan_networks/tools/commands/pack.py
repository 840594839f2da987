# SPDX-License-Identifier: Apache-2.0
"""Pack a bundle for others."""

from __future__ import annotations

import logging
import sys

from ctan_networks.tools.packing.pack import pack_bundle

__all__ = ["pack"]


def pack(bundle: str, output_dir: str = ".", plain: bool = False) -> str:
    """Write ``<name>_v<version>.zip``: a bundle that needs MONAI and its usual extras, and not this package.

    Args:
        bundle: the bundle's folder.
        output_dir: folder of the zip.
        plain: leave the package out; whoever uses the bundle then installs ``ctan-networks``.

    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    return str(pack_bundle(bundle, output_dir, plain))
