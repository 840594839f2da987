# SPDX-License-Identifier: Apache-2.0
"""Look at a bundle before running it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ctan_networks.tools.packing.inspection import inspect_bundle
from ctan_networks.tools.packing.unpack import unpack_bundle

__all__ = ["inspect"]


def inspect(bundle: str) -> str:
    """List what a bundle's configurations would import and execute, without executing it.

    Args:
        bundle: the bundle's folder, or a packed bundle (zip).

    """
    if not Path(bundle).is_file():
        return inspect_bundle(bundle).report()
    with tempfile.TemporaryDirectory() as folder:
        return inspect_bundle(unpack_bundle(bundle, folder)).report()
