# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ctan_networks.errors import ConfigError
from ctan_networks.tools.packing.closure import defining_module, module_closure, third_party
from ctan_networks.tools.packing.pack import pack_bundle
from ctan_networks.tools.packing.package_copy import package_files, without_extras
from ctan_networks.tools.packing.readme import packed_readme
from ctan_networks.tools.packing.requirements import Requirements, declared_requirements


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("ctan_networks.workflow.pick_weights", "ctan_networks.workflow"),
        ("ctan_networks.nets.CTAN", "ctan_networks.nets.ctan"),
        ("ctan_networks.nets.ctan.CTAN.forward", "ctan_networks.nets.ctan"),
        # A function and its module have one name; the package's name is the function.
        ("ctan_networks.data.class_weights", "ctan_networks.data.class_weights"),
        # By way of an inner package.
        ("ctan_networks.radiotherapy.MomentLoss", "ctan_networks.radiotherapy.losses.moment"),
        ("ctan_networks.tools.monai_label.answer.AnswerMONAILabeld", "ctan_networks.tools.monai_label.answer"),
    ],
)
def test_the_module_that_defines_a_name(name, module):
    assert defining_module(name) == module


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ctan_networks.nets.UNet", "ctan_networks.nets has no 'UNet'"),
        ("ctan_networks.workflow.nothing", "ctan_networks.workflow has no 'nothing'"),
        ("ctan_networks.transforms.BodyMaskd", "it is now ctan_networks.radiotherapy.BodyMaskd"),
    ],
)
def test_what_does_not_exist_is_named(name, words):
    with pytest.raises(ConfigError, match=words):
        defining_module(name)


def test_a_name_brings_what_its_module_imports_and_no_more():
    modules = module_closure(["ctan_networks.losses.DiceBCELoss"])
    assert modules == {f"ctan_networks.{m}" for m in ("losses.dice_bce", "losses.over_ranks", "errors", "processes")}
    assert third_party(modules) == {"torch": True}
    # In a function, and under "try".
    assert third_party(["ctan_networks.data.splits"])["sklearn"] is True
    assert third_party(["ctan_networks.losses.gradient_methods"])["torchjd"] is False


def test_a_copy_imports_when_asked_and_a_function_hides_its_module(tmp_path):
    modules = module_closure(["ctan_networks.data.class_weights", "ctan_networks.data.PhotoReader"])
    for path, content in package_files("copied", modules).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    code = """
import sys
import copied.data
assert not [name for name in sys.modules if name.startswith("copied.data.")]
import copied.data.class_weights
assert callable(copied.data.class_weights) and callable(copied.data.class_weights)
assert "copied.data.photo_reader" not in sys.modules
from copied.data import PhotoReader
assert PhotoReader.__module__ == "copied.data.photo_reader"
assert copied.__version__ and copied.errors.DataError
try:
    copied.data.MaskReader
except AttributeError as error:
    assert "has no attribute 'MaskReader'" in str(error)
else:
    raise SystemExit("found")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False, env={}
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_every_import_of_the_package_is_a_declared_requirement():
    required, extras = declared_requirements()
    root = Path(__file__).resolve().parents[3]
    files = [file for file in (root / "ctan_networks").rglob("*.py") if file.name not in ("__init__.py", "__main__.py")]
    modules = [".".join(file.relative_to(root).with_suffix("").parts) for file in files]
    everything = Requirements([m for m in modules if "compat" not in m], ["TensorBoardStatsHandler"], ())
    names = {re.split(r"[<>=\[]", line)[0] for line in [*required, *(x for lines in extras.values() for x in lines)]}
    assert everything.needed <= names
    assert set(required) <= set(everything.command().replace('"', " ").split())
    # Weights of encoders are imported by a name in a variable.
    assert everything.optional <= names


def test_extras_become_what_they_stand_for():
    assert without_extras('run pip install "ctan-networks[itk]".') == 'run pip install "itk-io>=5.4".'
    assert without_extras('"ctan-networks[gamma,itk]"') == '"pymedphys>=0.41" "itk-io>=5.4"'


def test_a_packed_readme():
    text = """# Model Overview

As [another](../../other_ctan/docs/README.md), with [figures](figures), a ![picture](figures/a.png) and
[a paper](https://doi.org/1).

## MONAI Bundle Commands

Needs `ctan-networks` (this repository: `pip install -c constraints.txt -e ".[photos]"`). Run:

    python -m monai.bundle run
"""
    needs = Requirements(["ctan_networks.data.tables"], ["TensorBoardStatsHandler"], ())
    made = packed_readme(text, Requirements([], [], ()), needs, ["docs/figures/a.png", "docs/README.md"])
    assert "As another, with [figures](figures), a ![picture](figures/a.png) and\n[a paper](https://doi.org/1)." in made
    assert "Needs" not in made and "\n\nRun:\n" in made
    assert '    pip install "monai>=1.6.1" "torch>=2.8" "numpy>=1.26" "fire>=0.7"\n' in made
    assert '"pandas>=2.2" "fire>=0.7" "tensorboard>=2.17"\n' in made
    assert made.index("## Requirements") < made.index("## MONAI Bundle Commands")
    assert "## Requirements" in packed_readme("# Of others\n", needs, needs, [])


def test_packing_logs_the_lines_and_refuses_what_cannot_run(bundles, tmp_path, caplog):
    folder = tmp_path / "stoic_ctan"
    (folder / "configs").mkdir(parents=True)
    for file in (bundles / "stoic_ctan" / "configs").glob("*.json"):
        (folder / "configs" / file.name).write_bytes(file.read_bytes())
    with caplog.at_level(logging.INFO):
        pack_bundle(folder, tmp_path)
    assert 'inference: pip install "monai>=1.6.1"' in caplog.text
    assert 'training and evaluation: pip install "monai>=1.6.1"' in caplog.text and "itk-io" in caplog.text
    config = folder / "configs" / "inference.json"
    text = config.read_text()
    config.write_text(text.replace("ctan_networks.handlers.WeightsCheckpointLoader", "ctan_networks.handlers.NoLoader"))
    with pytest.raises(ConfigError, match=r"ctan_networks.handlers has no 'NoLoader'"):
        pack_bundle(folder, tmp_path / "again")
    config.write_text(text.replace('"$@evaluator.run()"', "\"$__import__('ctan_networks')\""))
    with pytest.raises(ConfigError, match=r"inference.json: .* cannot be packed"):
        pack_bundle(folder, tmp_path / "again")
    assert not (tmp_path / "again").exists()
