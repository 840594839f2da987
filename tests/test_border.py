# SPDX-License-Identifier: Apache-2.0
"""Imports point one way: core <- radiotherapy <- datasets <- reports <- tools; and the core runs on little."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ctan_networks.tools.packing.imports import Import, read_imports

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ctan_networks"
# A wing may import from itself and from those before it.
WINGS = ("core", "radiotherapy", "datasets", "reports", "tools")
CORE = ("nets", "blocks", "losses", "metrics", "engines", "handlers", "transforms", "data")
# The old names, and the command line.
EXEMPT = ("_moved.py", "__main__.py")
FILES = [file for file in sorted(PACKAGE.rglob("*.py")) if file.relative_to(PACKAGE).as_posix() not in EXEMPT]


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(source: str, module: str, is_package: bool = False) -> Iterator[str]:
    """Absolute names of what a file imports of this package, also by a name in a string."""
    for found in read_imports(source, module, is_package):
        if found.module.partition(".")[0] == "ctan_networks":
            yield ".".join(filter(None, [found.module, found.name]))
    for node in ast.walk(ast.parse(source)):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and re.fullmatch(r"ctan_networks(\.\w+)+", text):
            yield text


def room(name: str) -> str:
    """The folder directly below the package; empty for its own files."""
    part = name.split(".")[1] if "." in name else ""
    return part if part in (*CORE, *WINGS) else ""


def objections(source: str, module: str, is_package: bool = False) -> list[str]:
    """Imports of one file that cross the border in the wrong direction."""
    own = room(module)
    own_wing = own if own in WINGS else "core"
    found = []
    for name in imported(source, module, is_package):
        other = room(name)
        wing = other if other in WINGS else "core"
        parts, others = module.split("."), name.split(".")
        up = WINGS.index(wing) > WINGS.index(own_wing)
        # Networks are built of blocks; nothing else in the core knows a network, and its own files know no room.
        net = own_wing == "core" and other == "nets" and own != "nets"
        own_files = own_wing == "core" and own in ("", "blocks") and other not in ("", own)
        another = own == other == "datasets" and is_data_set(parts) and is_data_set(others) and parts[2] != others[2]
        if up or net or own_files or another:
            found.append(f"{module} imports {name}")
    return found


def is_data_set(parts: list[str]) -> bool:
    return len(parts) > 2 and (PACKAGE / "datasets" / parts[2]).is_dir()


def test_no_import_goes_up():
    assert len(FILES) > 200
    found = [
        objection
        for file in FILES
        for objection in objections(file.read_text(encoding="utf-8"), module_name(file), file.name == "__init__.py")
    ]
    assert found == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ctan_networks.transforms.x", "from ctan_networks.radiotherapy.transforms import body_mask"),
        ("ctan_networks.transforms.x", "def f():\n    from ctan_networks import reports"),
        ("ctan_networks.data.x", "def f():\n    import ctan_networks.datasets.openkbp"),
        ("ctan_networks.data.x", "from ..datasets import openkbp"),
        ("ctan_networks.data.x", "import_module('ctan_networks.tools.packing')"),
        ("ctan_networks.data.x", "if TYPE_CHECKING:\n    from ctan_networks.reports.report import Report"),
        ("ctan_networks.radiotherapy.x", "from ctan_networks.datasets import openkbp"),
        (
            "ctan_networks.radiotherapy.x",
            "try:\n    from ctan_networks.reports import html\nexcept ImportError:\n    pass",
        ),
        ("ctan_networks.datasets.openkbp.x", "from ctan_networks.reports import html"),
        ("ctan_networks.datasets.openkbp.x", "from ctan_networks.datasets.stoic import stoic_list"),
        ("ctan_networks.reports.x", "from ctan_networks.tools import commands"),
        ("ctan_networks.handlers.x", "from ctan_networks.nets import CTAN"),
        ("ctan_networks.losses.x", "from ctan_networks import nets"),
        ("ctan_networks.blocks.x", "from ctan_networks.nets.ctan import CTAN"),
        ("ctan_networks.utils", "from ctan_networks.data import class_weights"),
    ],
)
def test_an_import_that_goes_up_is_found(module, source):
    assert len(objections(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ctan_networks.nets.x", "from ctan_networks.blocks import Decoder\nfrom .ctan import CTAN"),
        ("ctan_networks.transforms.x", "from ctan_networks.data.meta import merge\nfrom ..errors import DataError"),
        ("ctan_networks.datasets.stoic.x", "from ctan_networks.datasets.case_reader import CaseReader\nimport torch"),
        ("ctan_networks.tools.commands.x", "from ctan_networks.reports import html\nfrom ctan_networks import nets"),
    ],
)
def test_an_import_that_goes_down_is_not(module, source):
    assert objections(source, module) == []


def test_imports_are_read_with_what_they_mean():
    source = """
import os.path
from .near import a as b
if TYPE_CHECKING:
    import pandas as pd
try:
    import itk
except (ImportError, OSError):
    itk = None
def f():
    from torch import nn
    return optional_import("cv2")[0]
"""
    assert read_imports(source, "p.q.r") == [
        Import("os.path"),
        Import("p.q.near", "a", "b"),
        Import("pandas", typing_only=True),
        Import("itk", optional=True),
        Import("torch", "nn", "nn"),
        Import("cv2", optional=True),
    ]
    assert read_imports("from . import x\nfrom ..y import z", "p.q", is_package=True) == [
        Import("p.q", "x", "x"),
        Import("p.y", "z", "z"),
    ]


def test_nothing_in_the_package_knows_a_bundle():
    names = [folder.name for folder in (ROOT / "bundles").iterdir() if (folder / "configs").is_dir()]
    assert len(names) == 4
    known = [
        f"{file.relative_to(ROOT)}: {name}"
        for file in [*FILES, *PACKAGE.rglob("*.html")]
        for name in names
        if name in file.read_text(encoding="utf-8")
    ]
    assert known == []


def test_modules_list_their_public_names():
    without = []
    for file in FILES:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        own = [node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
        listed = any(isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__" for node in tree.body)
        if any(not name.startswith("_") for name in own) and not listed:
            without.append(str(file.relative_to(ROOT)))
    assert without == []


CORE_ALONE = """
import importlib, sys, time
from pathlib import Path

MISSING = {"pydicom", "nibabel", "matplotlib", "pandas", "sklearn", "scipy", "jinja2", "contourpy", "highdicom"}

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
import monai.bundle, monai.losses, monai.metrics, monai.networks.nets, torch

before, start = set(sys.modules), time.process_time()
for room in ("nets", "losses", "metrics"):
    importlib.import_module(f"ctan_networks.{room}")
print("seconds", time.process_time() - start)
new = {name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)
print("new", *sorted(new))
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def test_the_core_imports_quickly_and_without_pydicom_nibabel_matplotlib_and_pandas():
    names = [name for name in map(module_name, FILES) if name.count(".") and room(name) in ("", *CORE)]
    assert "ctan_networks.data.nifti" in names and "ctan_networks.workflow" in names
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CORE_ALONE, *names],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = dict(line.split(" ", 1) for line in done.stdout.splitlines() if line.startswith(("seconds", "new")))
    assert found["new"] == "ctan_networks"
    assert float(found["seconds"]) < 1
