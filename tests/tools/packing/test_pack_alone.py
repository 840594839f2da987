# SPDX-License-Identifier: Apache-2.0
"""Each packed bundle runs with what its README's lines install, and with nothing else."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

# Bundle: its cohort's function and size, and settings that make network and runs small.
BUNDLES = {
    "ham10000_ctan": (
        "package.datasets.ham10000.ham10000_cohort('data', lesions=28)",
        {"network_def#channels": [16, 16, 16], "image_size": [32, 32], "encoder": "plain"},
        {"batch_size": 8},
    ),
    "openkbp_ctan": (
        "package.datasets.openkbp.openkbp_cohort('data', train=1, validation=1)",
        {"network_def#channels": [4, 8], "roi_size": [32, 32, 32]},
        {"crop_size": [32, 32, 32], "steps_per_epoch": 1},
    ),
    "prostate_ctan": (
        "package.datasets.prostate.prostate_cohort('data', patients=5)",
        {"network_def#channels": [4, 8], "roi_size": [32, 32, 32]},
        {"crop_size": [32, 32, 32]},
    ),
    "stoic_ctan": (
        "package.datasets.stoic.stoic_cohort('data', patients=12)",
        {"network_def#channels": [4, 8, 12], "pixdim": [9.0, 9.0, 9.0], "image_size": [40, 32, 40]},
        {"batch_size": 4},
    ),
}
# The cohort that a run without dataset_dir writes, made smaller; no weights fit the small network.
INFERENCE = """
import runpy
package = runpy.run_path({bundle!r} + "/package/load.py")["package"]
data = {cohort}
from monai.bundle import run
config = {bundle!r} + "/configs/inference.json"
run(config_file=config, dataset_dir=data, output_dir="out", load_pretrain=False, **{small!r})
"""
TRAINING = """
import runpy
package = runpy.run_path({bundle!r} + "/package/load.py")["package"]
data = {cohort}
from monai.bundle import run
places = dict(dataset_dir=data, output_dir="run", cache_dir="cache")
quick = dict(epochs=1, val_interval=1, num_workers=0)
train = {bundle!r} + "/configs/train.json"
run(config_file=train, **places, **quick, **{small!r}, **{quick!r})
run(config_file=[train, {bundle!r} + "/configs/evaluate.json"], **places, **quick, **{small!r}, **{quick!r})
"""
# As where some of the distributions are not installed.
BLOCKER = """
import sys
from importlib.machinery import PathFinder
MISSING = set({missing!r})
class Installed(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in MISSING else super().find_spec(name, path, target)
sys.meta_path = [Installed if finder is PathFinder else finder for finder in sys.meta_path]
"""


def lines(bundle: Path) -> tuple[list[str], list[str]]:
    """Requirements that the README of a packed bundle names for inference and for training."""
    text = (bundle / "docs" / "README.md").read_text()
    section = text.partition("## Requirements\n")[2].partition("## MONAI Bundle Commands\n")[0]
    inference, training = re.findall(r"^    pip install (.*)$", section, re.MULTILINE)
    return shlex.split(inference), shlex.split(training)


def modules_of_others(requirements: list[str]) -> set[str]:
    """Modules of the installed distributions that some requirements, and what those require, do not name."""
    waiting = [Requirement(line) for line in requirements]
    found: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        name = requirement.name.lower().replace("_", "-")
        installed = metadata.version(name)
        assert requirement.specifier.contains(installed, prereleases=True), f"{requirement}: {installed} is installed"
        if name not in found:
            found.add(name)
            needed = [Requirement(line) for line in metadata.requires(name) or []]
            waiting += [r for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    names = metadata.packages_distributions()
    return {m for m, owners in names.items() if not found & {owner.lower().replace("_", "-") for owner in owners}}


def run(python: str | Path, code: str, cwd: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=cwd,
        env=environment,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


def script(template: str, bundle: Path) -> str:
    cohort, small, quick = BUNDLES[bundle.name]
    return template.format(bundle=str(bundle), cohort=cohort, small=small, quick=quick)


@pytest.mark.parametrize(
    # One in two dimensions and one in three; the others behind the marker.
    "name",
    [n if n in ("ham10000_ctan", "openkbp_ctan") else pytest.param(n, marks=pytest.mark.slow) for n in BUNDLES],
)
def test_a_pack_imports_what_its_lines_install_and_nothing_else(packed, tmp_path, name):
    bundle = Path(shutil.copytree(packed(name), tmp_path / name))
    for requirements, template in zip(lines(bundle), (INFERENCE, TRAINING), strict=True):
        missing = {"ctan_networks", *modules_of_others(requirements)}
        assert "pytest" in missing and not missing & {"torch", "monai", "numpy"}
        run(sys.executable, BLOCKER.format(missing=missing) + script(template, bundle), tmp_path)
    assert list((tmp_path / "out").rglob("*_result.json"))
    assert json.loads((tmp_path / "run" / "evaluation_validation" / "summary.json").read_text())["cases"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", BUNDLES)
def test_a_pack_runs_in_an_environment_of_its_lines(packed, tmp_path, name):
    """Downloads PyTorch, unless pip has it."""
    bundle = Path(shutil.copytree(packed(name), tmp_path / name))
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    for requirements, template in zip(lines(bundle), (INFERENCE, TRAINING), strict=True):
        install = [python, "-m", "pip", "install", "--quiet", *requirements]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        run(python, script(template, bundle), tmp_path)
    assert (tmp_path / "run" / "evaluation_validation" / "report.html").is_file()


def test_photographs_are_predicted_without_dicom_and_reports(packed):
    """The first thing a dermatologist does with the pack."""
    inference, training = ({Requirement(line).name for line in part} for part in lines(packed("ham10000_ctan")))
    assert inference == {"monai", "torch", "numpy", "fire", "pytorch-ignite", "pillow", "scipy"}
    assert inference < training and "ImageHash" in training
    assert not {"pydicom", "contourpy", "highdicom", "itk-io"} & training


@pytest.mark.parametrize("name", BUNDLES)
def test_a_pack_holds_what_its_configurations_need(packed, name):
    package = packed(name) / "package"
    tools = {file.relative_to(package).parts[2:] for file in package.glob("*/tools/**/*.py")}
    assert tools == {("__init__.py",)} | {("monai_label", n) for n in ("__init__.py", "answer.py", "item.py")}
    text = "".join(file.read_text() for file in package.rglob("*.py"))
    data_sets = {file.parent.name for file in package.glob("*/datasets/*/__init__.py")}
    assert name.removesuffix("_ctan") in data_sets
    if name == "ham10000_ctan":
        assert "pydicom" not in text and data_sets == {"ham10000"}
        assert not list(package.glob("*/radiotherapy/dicom/*"))


@pytest.mark.parametrize("name", BUNDLES)
def test_readme_and_metadata_of_a_pack_name_what_it_needs(packed, name):
    bundle = packed(name)
    text = (bundle / "docs" / "README.md").read_text()
    assert "Needs `ctan-networks`" not in text and "ctan-networks[" not in text
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not re.match(r"https?:|#", link)]
    assert [link for link in links if not (bundle / "docs" / link).exists()] == []
    assert all((bundle / "docs" / link).resolve().is_relative_to(bundle.resolve()) for link in links)
    listed = json.loads((bundle / "configs" / "metadata.json").read_text())["required_packages_version"]
    training = {Requirement(line).name for line in lines(bundle)[1]}
    assert set(listed) == training - {"monai", "torch", "numpy"}
