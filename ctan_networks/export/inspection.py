# SPDX-License-Identifier: Apache-2.0
"""What a bundle would import and execute, found by reading it and without executing anything."""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ctan_networks
from ctan_networks.errors import DataError
from ctan_networks.export.pack import BUNDLE_ROOT

__all__ = ["Inspection", "inspect_bundle"]

# Modules whose functions a configuration of this collection calls. Names without a module are MONAI's own components.
TRUSTED = ("monai", "torch", "ignite", "ctan_networks", "copy")
# Builtins, attributes and modules that reach the system, other code, or files.
RISKY = {
    "__import__", "breakpoint", "compile", "eval", "exec", "getattr", "globals", "input", "locals", "open", "setattr",
    "vars", "__builtins__", "__class__", "__globals__", "__subclasses__", "__loader__",
    "os", "sys", "subprocess", "socket", "shutil", "pickle", "importlib", "ctypes", "runpy", "pty", "builtins",
    "hub", "load", "loads", "load_url", "download", "download_url", "download_and_extract", "system", "popen",
}  # fmt: skip
# The lines that pack writes itself.
KNOWN = {
    "runpy.run_path": "pack wrote it: loads package/load.py, the copy of ctan_networks that travels in the bundle",
    BUNDLE_ROOT: "pack wrote it: finds the bundle's folder",
}


@dataclass
class Inspection:
    """What was found.

    Attributes:
        imports: modules that configurations import.
        targets: names that configurations instantiate or call.
        expressions: number of Python expressions.
        flagged: (file, place, text, reason) of what is outside of the allow-list.
        code: Python files in the bundle, relative to it.
        package: what the copy of ctan_networks in the bundle is, in words; empty without one.

    """

    imports: set[str] = field(default_factory=set)
    targets: set[str] = field(default_factory=set)
    expressions: int = 0
    flagged: list[tuple[str, str, str, str]] = field(default_factory=list)
    code: list[str] = field(default_factory=list)
    package: str = ""

    def report(self) -> str:
        """The findings as text."""
        lines = [
            f"imports: {', '.join(sorted(self.imports)) or 'none'}",
            f"instantiates or calls: {', '.join(sorted(self.targets)) or 'nothing'}",
            f"evaluates {self.expressions} Python expressions",
        ]
        lines += [f"holds Python code: {len(self.code)} files"] if self.code else []
        lines += [f"package: {self.package}"] if self.package else []
        if self.flagged:
            lines.append(f"LOOK AT THESE {len(self.flagged)} BEFORE YOU RUN IT:")
            lines += [f"  {file} at {place}: {text}  ({reason})" for file, place, text, reason in self.flagged]
        else:
            lines.append("nothing outside of the allow-list")
        return "\n".join(lines)


def inspect_bundle(bundle: str | os.PathLike) -> Inspection:
    """Read the configurations of a bundle, and say what running it would import and execute.

    ``monai.bundle`` executes what stands in a configuration. Nothing is executed or imported here. Calls, imports and
    targets outside of MONAI, PyTorch, Ignite and this package, and names that reach the system, are flagged. It is an
    aid for reading, no proof: whoever writes a bundle can hide what it does.

    Args:
        bundle: its folder.

    Raises:
        DataError: when the folder is no bundle, or a configuration cannot be read.

    """
    folder = Path(bundle)
    configs = sorted((folder / "configs").glob("*.json")) if folder.is_dir() else []
    if not configs:
        raise DataError(f"{folder} is no bundle: it has no configs/*.json.")
    found = Inspection()
    for file in configs:
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{file} cannot be read ({error}).") from error
        if file.name != "metadata.json":
            for place, value, key in _strings(content):
                _examine(found, file.name, place, value, key)
    for pattern in ("*.yaml", "*.yml"):
        for file in sorted((folder / "configs").glob(pattern)):
            found.flagged.append((file.name, "", "YAML", "only JSON is examined"))
    found.code = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.py"))
    found.package = _describe_package(folder)
    own = [path for path in found.code if not path.startswith("package/")]
    found.flagged += [(path, "", "Python file", "its code is not examined") for path in own]
    return found


def _strings(value: Any, place: str = "", key: str = "") -> Iterator[tuple[str, str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _strings(inner, f"{place}#{name}" if place else name, name)
    elif isinstance(value, list):
        for k, inner in enumerate(value):
            yield from _strings(inner, f"{place}#{k}", key)
    elif isinstance(value, str):
        yield place, value, key


def _examine(found: Inspection, file: str, place: str, value: str, key: str) -> None:
    def flag(reason: str) -> None:
        found.flagged.append((file, place, value, reason))

    if key == "_target_" and not value.startswith("$"):
        found.targets.add(value)
        if value in KNOWN:
            flag(KNOWN[value])
        elif "." in value and value.split(".")[0] not in TRUSTED:
            flag("a target outside of the allow-list")
        elif RISKY & set(value.split(".")):
            flag(f"uses {', '.join(sorted(RISKY & set(value.split('.'))))}")
        return
    if not value.startswith("$"):
        return
    found.expressions += 1
    if value in KNOWN:
        flag(KNOWN[value])
        return
    # References are names to Python: @a#b::c
    source = re.sub(r"@[\w#:]*", lambda m: "ref_" + re.sub(r"\W", "_", m[0]), value[1:])
    try:
        tree = ast.parse(source.strip())
    except SyntaxError:
        flag("no Python expression")
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            found.imports.update(names)
            for name in names:
                if name.split(".")[0] not in TRUSTED:
                    flag(f"imports {name}")
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            found.targets.add(re.sub(r"^ref__ctan\b", "ctan_networks", called))
        name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
        if name in RISKY:
            flag(f"uses {name}")
            return


def _describe_package(folder: Path) -> str:
    """Whether the copy of this package in a packed bundle is what is installed here."""
    copies = [p for p in (folder / "package").glob("ctan_networks_*") if p.is_dir()]
    if len(copies) != 1:
        return "" if not (folder / "package").exists() else "package/ does not hold one copy of ctan_networks"
    copy, root = copies[0], Path(ctan_networks.__file__).resolve().parent
    changed = []
    for file in sorted(copy.rglob("*")):
        if not file.is_file() or "__pycache__" in file.parts:
            continue
        mine = root / file.relative_to(copy)
        expected = mine.read_bytes() if mine.is_file() else None
        if expected is not None and file.suffix == ".py":
            expected = re.sub(rb"\bctan_networks\b", copy.name.encode(), expected)
        if expected != file.read_bytes():
            changed.append(file.relative_to(copy).as_posix())
    if not changed:
        return f"the copy of ctan_networks is the one installed here ({ctan_networks.__version__})"
    more = ", ..." if len(changed) > 5 else ""
    listed = ", ".join(changed[:5]) + more
    return f"{len(changed)} files of the copy of ctan_networks differ from what is installed here: {listed}"
