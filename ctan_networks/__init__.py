# SPDX-License-Identifier: Apache-2.0
"""Multi-task networks for medical images, their losses, metrics and data, for use in MONAI bundles."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

__version__ = "0.1.0"

_ROOMS = (
    "blocks",
    "data",
    "engines",
    "handlers",
    "losses",
    "metrics",
    "nets",
    "phantoms",
    "reports",
    "transforms",
    "workflow",
)


def __getattr__(name: str) -> ModuleType:
    # A configuration says `from ctan_networks import data`, which MONAI resolves as an attribute; importing every
    # room here would make the network alone as slow to import as all of it.
    if name in _ROOMS:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
