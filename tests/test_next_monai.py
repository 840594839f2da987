# SPDX-License-Identifier: Apache-2.0
"""The quick tests with MONAI's newest development version: ``pytest -m nextmonai``.

An environment beside this one holds that version alone and takes everything else from here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# The fuzz tests hold what reads files to its promises, most of it without MONAI, and take as long as all others.
PARTS = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "tests").iterdir()
    if (path.is_dir() and any(path.rglob("test_*.py")) and path.name != "fuzz")
    or (path.match("test_*.py") and path != Path(__file__))
)


def answer(python: str, code: str) -> str:
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.split()[-1]


@pytest.fixture(scope="session")
def next_python(tmp_path_factory) -> str:
    """The interpreter of an environment with the newest development version of MONAI."""
    folder = tmp_path_factory.mktemp("next")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = str(folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    packages = Path(answer(python, "import sysconfig; print(sysconfig.get_path('purelib'))"))
    # As a site folder: an editable install is a .pth file in it.
    here = sysconfig.get_path("purelib")
    (packages / "outer.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--pre", "--target", str(packages)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, "monai-weekly"], check=True)
    found = answer(python, "import monai; print(monai.__version__)")
    assert "dev" in found, found
    print(f"MONAI {found}")
    return python


@pytest.mark.nextmonai
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", PARTS)
def test_quick_tests_pass_with_the_next_monai(next_python, part):
    chosen = "not slow and not realdata and not label and not nextmonai"
    run = subprocess.run(
        [next_python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", chosen, part],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    # 5: the part has no quick tests.
    assert run.returncode in (0, 5), run.stdout[-6000:] + run.stderr[-2000:]
