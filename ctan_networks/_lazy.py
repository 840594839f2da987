# SPDX-License-Identifier: Apache-2.0
"""Submodules that are imported when they are first asked for."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

__all__ = ["submodule"]


def submodule(package: str, name: str) -> ModuleType:
    """Import ``package.name``, for the ``__getattr__`` of a package.

    A configuration says ``from ctan_networks import data``, which MONAI resolves as an attribute of the package.
    Importing everything there would make the network alone as slow to import as the whole package.

    Raises:
        AttributeError: when there is no such module.

    """
    try:
        return import_module(f"{package}.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"{package}.{name}":
            raise
        raise AttributeError(f"module {package!r} has no attribute {name!r}") from None
