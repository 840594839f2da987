# SPDX-License-Identifier: Apache-2.0
"""The import statements of a Python file, found by reading it and without executing it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Import", "read_imports"]


@dataclass(frozen=True)
class Import:
    """One name that a file imports.

    Attributes:
        module: where it is imported from, as an absolute name.
        name: what is imported from there; empty for ``import module``.
        alias: what it is called in the file; empty for ``import module``.
        optional: in a ``try`` that catches its absence, or by MONAI's ``optional_import``: the file works without.
        typing_only: under ``if TYPE_CHECKING``, so that it is not executed.

    """

    module: str
    name: str = ""
    alias: str = ""
    optional: bool = False
    typing_only: bool = False


def read_imports(source: str, module: str, is_package: bool = False) -> list[Import]:
    """Read all import statements of a file, those in functions too.

    Args:
        source: its content.
        module: its absolute name, to resolve relative imports.
        is_package: whether it is the ``__init__.py`` of ``module``.

    Raises:
        SyntaxError: when it is not Python.

    """
    parents = module.split(".") if is_package else module.split(".")[:-1]
    return list(_walk(ast.parse(source), parents, optional=False, typing_only=False))


def _walk(node: ast.AST, parents: list[str], optional: bool, typing_only: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, optional=optional, typing_only=typing_only)
    elif isinstance(node, ast.ImportFrom):
        above = parents[: len(parents) - node.level + 1] if node.level else []
        source = ".".join([*above, *filter(None, [node.module])])
        for alias in node.names:
            yield Import(source, alias.name, alias.asname or alias.name, optional, typing_only)
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("optional_import"):
        if node.args and isinstance(node.args[0], ast.Constant):
            yield Import(str(node.args[0].value), optional=True)
    elif isinstance(node, ast.Try):
        guarded = optional or any(_catches_import_error(handler) for handler in node.handlers)
        for tried in node.body:
            yield from _walk(tried, parents, guarded, typing_only)
        for other in (*node.handlers, *node.orelse, *node.finalbody):
            yield from _walk(other, parents, optional, typing_only)
    elif isinstance(node, ast.If):
        for statement in node.body:
            yield from _walk(statement, parents, optional, typing_only or _is_type_checking(node.test))
        for statement in node.orelse:
            yield from _walk(statement, parents, optional, typing_only)
    else:
        for inner in ast.iter_child_nodes(node):
            yield from _walk(inner, parents, optional, typing_only)


def _catches_import_error(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(isinstance(kind, ast.Name) and kind.id in ("ImportError", "ModuleNotFoundError") for kind in caught)


def _is_type_checking(test: ast.expr) -> bool:
    return (test.id if isinstance(test, ast.Name) else getattr(test, "attr", "")) == "TYPE_CHECKING"
