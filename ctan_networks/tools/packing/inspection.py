# SPDX-License-Identifier: Apache-2.0
"""What a bundle would import and execute, found by reading it and without executing anything."""

from __future__ import annotations

import ast
import configparser
import json
import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import ctan_networks
from ctan_networks.errors import DataError
from ctan_networks.tools.packing.allow_list import target_objection
from ctan_networks.tools.packing.expressions import read_expression
from ctan_networks.tools.packing.pack import BUNDLE_ROOT, NOT_PACKED
from ctan_networks.tools.packing.package_copy import modules_in, package_files

__all__ = ["Inspection", "inspect_bundle"]

# The lines that pack writes itself.
KNOWN = {
    "runpy.run_path": "pack wrote it: loads package/load.py, the copy of ctan_networks that travels in the bundle",
    BUNDLE_ROOT: "pack wrote it: finds the bundle's folder",
}
# Keys whose value alone decides whether unrestricted pickles are read, or a debugger starts.
RISKY_VALUES = {"allow_pickle": True, "weights_only": False, "_mode_": "debug"}
CODE = {".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", ".sh", ".bat", ".cmd", ".ps1", ".exe", ".ipynb"}
WEIGHTS = {".pt", ".pth", ".ckpt", ".bin"}
# What a logging.conf may hold beside plain values; Python evaluates the rest of it.
LOG_CLASSES = {"StreamHandler", "FileHandler", "NullHandler", "handlers.RotatingFileHandler", "logging.Formatter"}
# Characters of a value in the report.
SHOWN = 300
LOG_STREAMS = re.compile(r"\bsys\.(stdout|stderr)\b")


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

    @property
    def strange(self) -> list[tuple[str, str, str, str]]:
        """What is flagged, without the lines that every packed bundle has."""
        return [entry for entry in self.flagged if entry[3] not in KNOWN.values()]

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
            lines += [
                f"  {file}{' at ' if place else ''}{place}: {text[:SHOWN]}  ({reason})"
                for file, place, text, reason in self.flagged
            ]
        else:
            lines.append("nothing outside of the allow-list")
        return "\n".join(lines)


def inspect_bundle(bundle: str | os.PathLike) -> Inspection:
    """Read the files of a bundle, and say what running it would import and execute.

    ``monai.bundle`` executes what stands in a configuration. Nothing of the bundle is executed or imported here, and
    nothing but MONAI, PyTorch, Ignite and this package is. Whatever is not on the list of components and functions that
    run no other code (:py:mod:`ctan_networks.tools.packing.allow_list`) is flagged; so are other files that are
    executed or
    unpickled (Python, libraries, exported networks, weights that ``weights_only=True`` refuses, expressions in
    ``logging.conf``), links, and configurations that take in other files. It is an aid for reading, no proof.

    Args:
        bundle: its folder.

    Raises:
        DataError: when the folder is no bundle, or a configuration cannot be read.

    """
    folder = Path(bundle)
    configs = sorted((folder / "configs").rglob("*.json")) if folder.is_dir() else []
    if not configs:
        raise DataError(f"{folder} is no bundle: it has no configs/*.json.")
    found = Inspection()
    strings = []
    for file in configs:
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{file} cannot be read ({error}).") from error
        name = file.relative_to(folder / "configs").as_posix()
        strings += [(name, place, value) for place, value in _values(content)]
    aliases: dict[str, set[str]] = {}
    for _, _, value in strings:
        if isinstance(value, str) and value.startswith("$") and "import" in value:
            for alias, stands_for in read_expression(value[1:]).aliases.items():
                aliases.setdefault(alias, set()).add(stands_for)
    for name, place, value in strings:
        reason = _examine(found, place, value, aliases)
        if reason:
            found.flagged.append((name, place, str(value), reason))
    found.code = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.py"))
    found.package, changed = _describe_package(folder)
    found.flagged += [(f"package/{file}", "", "Python file", "differs from what is installed here") for file in changed]
    found.flagged += _examine_files(folder)
    return found


def _values(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _values(inner, f"{place}#{name}" if place else name)
    elif isinstance(value, list):
        for k, inner in enumerate(value):
            yield from _values(inner, f"{place}#{k}")
    else:
        yield place, value


def _examine(found: Inspection, place: str, value: Any, aliases: dict[str, set[str]]) -> str:
    """Note what one value of a configuration uses; what speaks against it."""
    key = place.rpartition("#")[2]
    if key in RISKY_VALUES and value == RISKY_VALUES[key]:
        return f"{key} {value}"
    if not isinstance(value, str):
        return ""
    if value.startswith("%") and re.search(r"\.(json|ya?ml)\b", value, re.IGNORECASE):
        return "takes in another file"
    if value.startswith("$"):
        found.expressions += 1
        expression = read_expression(value[1:], aliases)
        found.imports |= expression.imports
        found.targets |= expression.calls
        return KNOWN.get(value, expression.objection)
    if key == "_target_":
        found.targets.add(value)
        return KNOWN.get(value) or target_objection(value)
    return ""


def _examine_files(folder: Path) -> Iterator[tuple[str, str, str, str]]:
    """What is executed or unpickled, of the files that are no configurations."""
    for file in sorted(folder.rglob("*")):
        path, suffix = file.relative_to(folder).as_posix(), file.suffix.lower()
        if file.is_symlink():
            yield path, "", "link", f"leads to {os.readlink(file)}"
        elif not file.is_file():
            continue
        elif path.startswith("configs/") and suffix in (".yaml", ".yml"):
            yield path.removeprefix("configs/"), "", "YAML", "only JSON is examined"
        elif suffix in CODE and not path.startswith("package/"):
            yield path, "", "Python file" if suffix == ".py" else "code", "its code is not examined"
        elif suffix in NOT_PACKED:
            yield path, "", "exported network", "a program, which is not examined: make it anew with export"
        elif suffix in WEIGHTS and not path.startswith(("runs/", "cache/")):
            reason = _weights_objection(file)
            if reason:
                yield path, "", "weights", reason
        elif file.suffix == ".conf":
            yield from ((path.removeprefix("configs/"), *entry) for entry in _examine_logging(file))


def _weights_objection(file: Path) -> str:
    try:
        torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except Exception as error:  # noqa: BLE001  whatever a damaged or hostile file leads to
        return f"do not load with weights_only=True ({type(error).__name__}): do not load them in another way"
    return ""


def _examine_logging(file: Path) -> Iterator[tuple[str, str, str]]:
    """Python evaluates classes and arguments of handlers and formatters."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(file.read_text(encoding="utf-8"))
    except (configparser.Error, OSError, ValueError) as error:
        yield "", "", f"cannot be read ({type(error).__name__})"
        return
    for section in parser.sections():
        for option, value in parser.items(section):
            if option == "class" and value.strip() not in LOG_CLASSES:
                yield section, f"{option} = {value}", "outside of the allow-list"
            elif option in ("args", "kwargs"):
                try:
                    ast.literal_eval(LOG_STREAMS.sub("0", value.strip()))
                except (ValueError, SyntaxError, RecursionError, MemoryError):
                    yield section, f"{option} = {value}", "an expression, which Python would evaluate"


def _describe_package(folder: Path) -> tuple[str, list[str]]:
    """What the copy of this package in a packed bundle is, in words; its files that are not those installed here."""
    place = folder / "package"
    if not place.exists():
        return "", []
    copies = [p for p in place.glob("ctan_networks_*") if p.is_dir()]
    if len(copies) != 1:
        return "package/ does not hold one copy of ctan_networks", [p.name for p in sorted(place.iterdir())]
    expected = package_files(copies[0].name, modules_in(copies[0]))
    files = (file for file in sorted(place.rglob("*")) if file.is_file() and "__pycache__" not in file.parts)
    present = {file.relative_to(place).as_posix(): file for file in files}
    # The licence lies beside the package only in its repository.
    changed = [path for path, file in present.items() if path != "LICENSE" and expected.get(path) != file.read_bytes()]
    if not changed:
        return f"the copy of ctan_networks is the one installed here ({ctan_networks.__version__})", []
    return "the copy of ctan_networks is not the one installed here", changed
