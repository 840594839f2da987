# SPDX-License-Identifier: Apache-2.0
"""Look at a bundle before running it."""

from __future__ import annotations

from ctan_networks.tools.packing.inspection import inspect_bundle

__all__ = ["inspect"]


def inspect(bundle: str) -> str:
    """List what a bundle's configurations would import and execute, without executing it.

    Args:
        bundle: the bundle's folder.

    """
    return inspect_bundle(bundle).report()
