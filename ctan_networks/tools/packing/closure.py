# SPDX-License-Identifier: Apache-2.0
"""Which modules of this package some public names need, and which other packages those import."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import ctan_networks
from ctan_networks._moved import NEW_PLACE
from ctan_networks.errors import ConfigError
from ctan_networks.tools.packing.imports import Import, read_imports

__all__ = ["ROOT", "SOURCE", "defining_module", "exported", "module_closure", "module_file", "third_party"]

SOURCE = "ctan_networks"
ROOT = Path(ctan_networks.__file__).resolve().parent
# Lazy imports of packages, and old names: of no use to who names a public name.
MACHINERY = (f"{SOURCE}._lazy", f"{SOURCE}._moved")


def module_file(module: str) -> Path | None:
    """The file of a module or package; None when there is no such module."""
    place = ROOT.joinpath(*module.split(".")[1:])
    for file in (place / "__init__.py", place.with_suffix(".py")):
        if file.is_file():
            return file
    return None


@cache
def exported(package: str) -> dict[str, str]:
    """Public names that a package imports from its modules, each with the module that defines it."""
    found = {}
    for entry in _imports(package):
        if entry.name and entry.module.startswith(f"{SOURCE}.") and entry.module not in MACHINERY:
            inner = exported(entry.module) if _is_package(entry.module) else {}
            found[entry.alias] = inner.get(entry.name, entry.module)
    return found


def defining_module(name: str) -> str:
    """The module that defines what a configuration calls ``ctan_networks.data.PhotoReader``.

    Args:
        name: with dots; attributes of the object itself may follow.

    Raises:
        ConfigError: when there is no such module, or it does not define the name.

    """
    module, *attributes = name.split(".")
    for attribute in attributes:
        if not _is_package(module):
            if attribute in _defined(module):
                return module
            break
        if attribute in exported(module):
            return exported(module)[attribute]
        if module_file(f"{module}.{attribute}") is None:
            if attribute in _defined(module):
                return module
            break
        module = f"{module}.{attribute}"
    else:
        return module
    moved = NEW_PLACE.get((module.partition(".")[2], attribute))
    advice = f"it is now {SOURCE}.{'.'.join(moved)}" if moved else f"{module} has no {attribute!r}"
    raise ConfigError(f"{name} does not exist: {advice}.")


def module_closure(names: Iterable[str]) -> set[str]:
    """The modules that define some names, and all that those import, also in functions.

    Args:
        names: see :py:func:`defining_module`.

    Returns:
        Absolute names of modules; packages are left out.

    """
    waiting = [defining_module(name) for name in names]
    found: set[str] = set()
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        if _is_package(module):
            # Asked for as a whole.
            waiting += exported(module).values()
            continue
        found.add(module)
        for entry in _imports(module):
            if entry.module.partition(".")[0] == SOURCE and not entry.typing_only:
                waiting.append(_imported_module(entry))
    return found


def third_party(modules: Iterable[str]) -> dict[str, bool]:
    """Packages of others that modules import, each with whether they cannot do without it."""
    found: dict[str, bool] = {}
    for module in modules:
        for entry in _imports(module):
            name = entry.module.partition(".")[0]
            if not entry.typing_only and name != SOURCE and name not in sys.stdlib_module_names:
                found[name] = found.get(name, False) or not entry.optional
    return found


def _imported_module(entry: Import) -> str:
    if not entry.name or not _is_package(entry.module):
        return entry.module
    inner = f"{entry.module}.{entry.name}"
    return exported(entry.module).get(entry.name) or (inner if module_file(inner) else entry.module)


@cache
def _imports(module: str) -> list[Import]:
    file = module_file(module)
    if file is None:
        raise ConfigError(f"{module} does not exist.")
    return read_imports(file.read_text(encoding="utf-8"), module, _is_package(module))


@cache
def _defined(module: str) -> set[str]:
    """Names at the top of a module."""
    file = module_file(module)
    tree = ast.parse(file.read_text(encoding="utf-8") if file else "")
    found = {entry.alias for entry in _imports(module)}
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {inner.id for target in targets for inner in ast.walk(target) if isinstance(inner, ast.Name)}
    return found


def _is_package(module: str) -> bool:
    file = module_file(module)
    return file is not None and file.name == "__init__.py"
