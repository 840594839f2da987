# SPDX-License-Identifier: Apache-2.0
"""A wheel holds what setup.cfg lists."""

from __future__ import annotations

from configparser import ConfigParser
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_file_of_the_package_goes_into_a_wheel():
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    patterns = setup["options.package_data"]["ctan_networks"].split()
    files = [p.relative_to(ROOT / "ctan_networks") for p in (ROOT / "ctan_networks").rglob("*") if p.is_file()]
    assert len(files) > 100
    for file in files:
        if "__pycache__" in file.parts:
            continue
        # A folder with Python files is in the wheel when it is a package, or its files are listed as data.
        packaged = file.suffix == ".py" and (ROOT / "ctan_networks" / file.parent / "__init__.py").is_file()
        assert packaged or any(fnmatch(str(file), pattern) for pattern in patterns), file
