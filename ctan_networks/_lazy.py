# SPDX-License-Identifier: Apache-2.0
"""Submodules and public names that are imported when they are first asked for."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ["lazy_package", "submodule"]


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


def lazy_package(package: str, modules: Mapping[str, str]) -> None:
    """Make the public names of a package attributes that are imported when they are first asked for.

    For the ``__init__.py`` of packages in a packed bundle, where a run must import no more than it uses.

    Args:
        package: its name, imported or being imported.
        modules: public name to the absolute name of the module that defines it.

    """
    module = sys.modules[package]
    module.__dict__["_modules"] = dict(modules)
    module.__class__ = _LazyPackage


class _LazyPackage(ModuleType):
    _modules: dict[str, str]

    def __getattr__(self, name: str) -> Any:
        if name not in self.__dict__["_modules"]:
            return submodule(self.__name__, name)
        value = self.__dict__[name] = getattr(import_module(self._modules[name]), name)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        # Python binds each imported submodule to its package; a function of the same name takes precedence.
        if not (name in self._modules and isinstance(value, ModuleType)):
            super().__setattr__(name, value)
