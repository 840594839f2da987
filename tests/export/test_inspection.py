# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest

from ctan_networks.commands import inspect, pack, unpack
from ctan_networks.errors import DataError
from ctan_networks.export.inspection import inspect_bundle

NAMES = sorted(p.name for p in (Path(__file__).resolve().parents[2] / "bundles").iterdir() if (p / "configs").is_dir())


@pytest.mark.parametrize("name", NAMES)
def test_our_own_bundles_do_nothing_out_of_the_ordinary(bundles, name):
    found = inspect_bundle(bundles / name)
    assert found.flagged == [] and found.code == []
    assert found.imports == {"copy", "torch", "monai", "ctan_networks"}
    assert {"SupervisedTrainer", "ctan_networks.nets.make_network"} <= found.targets
    assert found.expressions > 50


def bundle_with(tmp_path: Path, content: dict) -> Path:
    (tmp_path / "b" / "configs").mkdir(parents=True)
    (tmp_path / "b" / "configs" / "inference.json").write_text(json.dumps(content))
    return tmp_path / "b"


@pytest.mark.parametrize(
    "content",
    [
        {"imports": ["$import os"]},
        {"imports": ["$from subprocess import run"]},
        {"initialize": ["$__import__('os').system('touch MARK')"]},
        {"initialize": ["$[open('MARK', 'w'), 1][1]"]},
        {"x": {"y": [{"_target_": "os.system", "command": "touch MARK"}]}},
        {"x": {"_target_": "subprocess.run", "args": ["touch", "MARK"]}},
        {"x": "$().__class__.__base__.__subclasses__()"},
        {"x": "$eval('1')"},
        {"x": "$torch.hub.load('a', 'b')"},
        {"x": {"_target_": "torch.load", "f": "weights.pt", "weights_only": False}},
        {"x": {"_target_": "torch.hub.load", "repo_or_dir": "a"}},
        {"x": {"_target_": "scripts.thing.Run"}},
        {"x": {"_target_": "$getattr(torch, 'lo' + 'ad')"}},
        {"x": "$1 +"},
    ],
)
def test_what_reaches_outside_is_shown_and_not_executed(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    text = inspect(str(bundle_with(tmp_path, content)))
    assert "LOOK AT THESE 1 BEFORE YOU RUN IT" in text and "inference.json at" in text
    assert not (tmp_path / "MARK").exists()


def test_references_and_ordinary_expressions_are_not_flagged(tmp_path):
    content = {
        "imports": ["$import torch", "$from monai.utils import set_determinism"],
        "a": {"_target_": "LoadImaged", "keys": "image"},
        "b": "$@a#keys + str(@validate::x#0)",
        "c": "an open sentence with os, and a_target: os.system",
        "d": {"_target_": "monai.transforms.Compose", "transforms": []},
    }
    assert inspect_bundle(bundle_with(tmp_path, content)).flagged == []


def test_python_files_and_yaml_are_named(tmp_path):
    bundle = bundle_with(tmp_path, {})
    (bundle / "scripts").mkdir()
    (bundle / "scripts" / "evil.py").write_text("raise SystemExit")
    (bundle / "configs" / "train.yaml").write_text("a: 1")
    found = inspect_bundle(bundle)
    assert {(file, reason) for file, _, _, reason in found.flagged} == {
        ("scripts/evil.py", "its code is not examined"),
        ("train.yaml", "only JSON is examined"),
    }


def test_the_package_in_a_pack_is_compared_with_the_one_installed(bundles, tmp_path):
    bundle = Path(unpack(pack(str(bundles / "stoic_ctan"), str(tmp_path)), str(tmp_path / "out")))
    found = inspect_bundle(bundle)
    assert "is the one installed here" in found.package
    assert all(reason.startswith("pack wrote it") for *_, reason in found.flagged)
    (changed,) = (bundle / "package").glob("ctan_networks_*/utils.py")
    changed.write_text(changed.read_text() + "\nprint()\n")
    assert "1 files of the copy of ctan_networks differ" in inspect(str(bundle)) and "utils.py" in inspect(str(bundle))


def test_what_is_no_bundle(tmp_path):
    with pytest.raises(DataError, match="is no bundle"):
        inspect(str(tmp_path))
    bundle = bundle_with(tmp_path, {})
    (bundle / "configs" / "inference.json").write_text("{")
    with pytest.raises(DataError, match=r"inference.json cannot be read"):
        inspect(str(bundle))
