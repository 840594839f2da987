# SPDX-License-Identifier: Apache-2.0
"""What a Python expression in a bundle's configuration uses, found by reading it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ctan_networks.tools.packing.allow_list import objection, trusted_module

__all__ = ["Expression", "read_expression"]

# Functions of Python that reach nothing but their arguments.
BUILTINS = {
    "abs", "all", "any", "bool", "dict", "divmod", "enumerate", "filter", "float", "frozenset", "int", "isinstance",
    "len", "list", "map", "max", "min", "next", "pow", "print", "range", "repr", "reversed", "round", "set", "slice",
    "sorted", "str", "sum", "tuple", "zip",
}  # fmt: skip
# Attributes of whatever object that lead to the system, other code, or files.
RISKY = {
    "os", "sys", "subprocess", "socket", "shutil", "pickle", "importlib", "ctypes", "runpy", "pty", "builtins", "hub",
    "load", "loads", "load_url", "download", "download_url", "download_and_extract", "system", "popen", "exec", "eval",
    "load_library", "load_inline", "cpp_extension", "optional_import", "tb_frame", "f_back", "f_globals", "f_locals",
    "f_builtins", "gi_frame", "gi_code", "cr_frame", "ag_frame", "func_globals",
}  # fmt: skip
REFERENCE = "ref_"
# The package that travels in a packed bundle, by the id that pack gives it.
PACKAGE = f"{REFERENCE}_ctan"


@dataclass
class Expression:
    """What was found.

    Attributes:
        imports: modules that it imports.
        aliases: names that its imports define, each with what it stands for.
        calls: what it calls.
        objection: what speaks against it; empty when nothing does.

    """

    imports: set[str] = field(default_factory=set)
    aliases: dict[str, str] = field(default_factory=dict)
    calls: set[str] = field(default_factory=set)
    objection: str = ""


def read_expression(text: str, aliases: Mapping[str, set[str]] | None = None) -> Expression:
    """Read what follows the ``$``.

    Args:
        text: the expression; MONAI's references in it (``@a#b::c``) count as objects of allowed components.
        aliases: what names stand for that the bundle's imports define.

    """
    source = re.sub(r"@[\w#:]*", lambda m: REFERENCE + re.sub(r"\W", "_", m[0]), text)
    try:
        tree = ast.parse(source.strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Expression(objection="no Python expression")
    found = Expression()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            found.calls.add(re.sub(rf"^{PACKAGE}\b", "ctan_networks", ast.unparse(node.func)))
        elif isinstance(node, ast.Import):
            for alias in node.names:
                found.imports.add(alias.name)
                found.aliases[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            found.imports.add(node.module or ".")
            for alias in node.names:
                found.aliases[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    known = {name: set(places) for name, places in (aliases or {}).items()}
    known.setdefault(PACKAGE, {"ctan_networks"})
    for name, place in found.aliases.items():
        known.setdefault(name, set()).add(place)
    found.objection = next(_objections(tree, found, known), "")
    return found


def _objections(tree: ast.AST, found: Expression, known: Mapping[str, set[str]]) -> Iterator[str]:
    for name in sorted(found.imports):
        if not trusted_module(name):
            yield f"imports {name}"
    own = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    own |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    # Names at the beginning of a chain of attributes are looked at with the whole chain.
    seen: set[int] = set()
    for node in ast.walk(tree):
        if id(node) in seen:
            continue
        if isinstance(node, ast.Attribute):
            attributes, root = [node.attr], node.value
            while isinstance(root, ast.Attribute):
                seen.add(id(root))
                attributes.append(root.attr)
                root = root.value
            risky = [name for name in attributes if name in RISKY or name.startswith("__")]
            if risky:
                yield f"uses {', '.join(risky)}"
            if isinstance(root, ast.Name) and root.id in known and root.id not in own:
                seen.add(id(root))
                yield from _of_modules(".".join(reversed(attributes)), known[root.id])
        elif isinstance(node, ast.Name) and node.id not in own:
            if node.id in known:
                yield from _of_modules("", known[node.id])
            elif node.id not in BUILTINS and not node.id.startswith(REFERENCE):
                yield f"uses {node.id}"


def _of_modules(attributes: str, places: set[str]) -> Iterator[str]:
    for place in sorted(places):
        name = f"{place}.{attributes}" if attributes else place
        reason = "a whole module" if not attributes and "." not in place else objection(name)
        if reason:
            yield f"{name}: {reason}"
