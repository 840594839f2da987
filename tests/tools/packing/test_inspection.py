# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from shipped import copy_shipped

from ctan_networks.errors import DataError
from ctan_networks.tools.commands import inspect, pack, unpack
from ctan_networks.tools.packing.inspection import inspect_bundle

NAMES = sorted(p.name for p in (Path(__file__).resolve().parents[3] / "bundles").iterdir() if (p / "configs").is_dir())


@pytest.mark.parametrize("name", NAMES)
def test_our_own_bundles_do_nothing_out_of_the_ordinary(bundles, name):
    found = inspect_bundle(bundles / name)
    assert found.flagged == [] and found.code == []
    assert found.imports == {
        "copy",
        "torch",
        "monai",
        "ctan_networks",
        "ctan_networks.datasets",
        "ctan_networks.tools.monai_label",
    }
    assert {"SupervisedTrainer", "ctan_networks.nets.make_network"} <= found.targets
    assert found.expressions > 50


def test_tests_do_not_see_what_runs_leave_in_a_checkout(tmp_path):
    bundle = tmp_path / "checkout" / "any_ctan"
    kept = ["LICENSE", "configs/train.json", "docs/figures/a.png", "models/model.pt", "models/given_ptv/model.json"]
    left = [
        "models/model.onnx",
        "models/model.ts",
        "runs/phantom_ctan/model.pt",
        "eval/a.csv",
        "phantom/a.csv",
        "cache/a",
    ]
    for path in kept + left:
        (bundle / path).parent.mkdir(parents=True, exist_ok=True)
        (bundle / path).touch()
    copy = copy_shipped(bundle.parent, tmp_path / "copy")
    assert sorted(p.relative_to(copy / "any_ctan").as_posix() for p in copy.rglob("*") if p.is_file()) == sorted(kept)


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
        {"x": {"_target_": "torch.load", "f": "weights.pt"}},
        {"x": {"_target_": "torch.hub.load", "repo_or_dir": "a"}},
        {"x": {"_target_": "scripts.thing.Run"}},
        {"x": {"_target_": "$getattr(torch, 'lo' + 'ad')"}},
        {"x": "$1 +"},
        # Ways through modules that may be imported.
        {"x": {"_target_": "torch.utils.collect_env.run", "command": "touch MARK"}},
        {"x": {"_target_": "torch.utils.cpp_extension.load_inline", "name": "x", "cpp_sources": "x"}},
        {"x": {"_target_": "run_cmd", "cmd_list": ["touch", "MARK"]}},
        {"x": {"_target_": "monai.utils.run_cmd", "cmd_list": ["touch", "MARK"]}},
        {"x": {"_target_": "monai.utils.optional_import", "module": "subprocess"}},
        {"x": {"_target_": "monai.data.utils.os.system", "command": "touch MARK"}},
        {"x": {"_target_": "monai.data.utils.torch.hub.load", "repo_or_dir": "a"}},
        {"x": {"_target_": "monai.transforms.utils.torch", "f": "a"}},
        {"x": {"_target_": "ConfigWorkflow", "config_file": "other.json"}},
        {"x": {"_target_": "pickle_operations", "data": "a"}},
        {"x": {"_target_": "NoSuchThing"}},
        {"x": {"_target_": "NumpyReader", "allow_pickle": True}},
        {"x": {"_target_": "PersistentDataset", "weights_only": False}},
        {"x": {"_target_": "DataLoader", "_mode_": "debug"}},
        {"imports": ["$import monai"], "x": "$monai.utils.optional_import('subprocess')[0].run('touch')"},
        {"imports": ["$from torch.utils.cpp_extension import load_inline as mean"], "x": "$mean('x')"},
        {"imports": ["$from monai.data import utils as u"], "x": "$u.os.remove('a')"},
        {"imports": ["$import torch"], "t": "$torch", "x": "$@t.zeros(3)"},
        {"imports": ["$import torch"], "t": "$torch.utils", "x": "$@t.x.y()"},
        {"x": "$(lambda a: a.f_back)(@y)"},
        {"x": "$dir()"},
        {"x": "%../elsewhere.json#network"},
        {"x": {"_target_": "torch.nn.Linear.__init__.__globals__"}},
        {"x": "$" + "(" * 3000 + ")" * 3000},
    ],
)
def test_what_reaches_outside_is_shown_and_not_executed(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    text = inspect(str(bundle_with(tmp_path, content)))
    assert "LOOK AT THESE 1 BEFORE YOU RUN IT" in text and "inference.json at" in text
    assert not (tmp_path / "MARK").exists()


def test_references_and_ordinary_expressions_are_not_flagged(tmp_path):
    content = {
        "imports": ["$import torch", "$import monai", "$from monai.utils import set_determinism"],
        "a": {"_target_": "LoadImaged", "keys": "image"},
        "b": "$@a#keys + str(@validate::x#0)",
        "c": "an open sentence with os, and a_target: os.system",
        "d": {"_target_": "monai.transforms.Compose", "transforms": []},
        "e": "$[x + len(y) for x, y in zip(@a, @b)] + list(map(lambda torch: torch + 1, @c))",
        "f": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "g": {"_target_": "torch.optim.AdamW", "params": "$@d.parameters()"},
        "h": "$set_determinism(seed=0) or monai.transforms.Rotated('image', torch.pi).inverse",
        "i": {"_target_": "$@d.transforms", "x": "$torch.float16"},
        "j": {"_target_": "SupervisedTrainer", "y": "%a#keys"},
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


def test_a_bundle_s_imports_count_in_its_other_configurations(tmp_path):
    bundle = bundle_with(tmp_path, {"imports": ["$from monai import data as d"]})
    (bundle / "configs" / "overlay.json").write_text(
        json.dumps({"x": "$d.utils.os.remove('a')", "y": "$d.Dataset([])"})
    )
    assert [(file, place) for file, place, *_ in inspect_bundle(bundle).flagged] == [("overlay.json", "x")]


def test_metadata_is_examined(tmp_path):
    """MONAI evaluates what begins with $ there, too, when a property is asked for."""
    bundle = bundle_with(tmp_path, {})
    (bundle / "configs" / "metadata.json").write_text(json.dumps({"version": "$open('a')"}))
    assert [place for _, place, *_ in inspect_bundle(bundle).flagged] == ["version"]


@pytest.mark.parametrize(
    ("text", "flagged"),
    [
        ("[handler_a]\nclass=StreamHandler\nargs=(sys.stdout,)\nkwargs={'x': [1, 'a']}\n", 0),
        ("[handler_a]\nclass=StreamHandler\nargs=(__import__('os').system('touch MARK'),)\n", 1),
        ("[handler_a]\nclass=__import__('os').system('touch MARK')\nargs=(1,)\n", 1),
        ("[formatter_a]\nclass=scripts.evil.Formatter\n", 1),
        ("no section\n", 1),
    ],
)
def test_logging_conf_is_examined(tmp_path, text, flagged):
    bundle = bundle_with(tmp_path, {})
    (bundle / "configs" / "logging.conf").write_text(text)
    found = inspect_bundle(bundle).flagged
    assert len(found) == flagged and all(file == "logging.conf" for file, *_ in found)


def test_files_that_execute_or_hide_something_are_named(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (print, ("executed",))

    bundle = bundle_with(tmp_path, {})
    (bundle / "models").mkdir()
    torch.save({"w": torch.zeros(2)}, bundle / "models" / "model.pt")
    torch.save({"w": Harmful()}, bundle / "models" / "other.pt")
    (bundle / "models" / "broken.pt").write_bytes(b"x" * 100)
    (bundle / "models" / "model.pt2").write_bytes(b"x")
    (bundle / "models" / "plugin.so").write_bytes(b"x")
    (bundle / "docs").symlink_to(tmp_path)
    found = {file: reason for file, _, _, reason in inspect_bundle(bundle).flagged}
    assert set(found) == {f"models/{n}" for n in ("other.pt", "broken.pt", "model.pt2", "plugin.so")} | {"docs"}
    assert "weights_only=True" in found["models/other.pt"] and "a program" in found["models/model.pt2"]


def test_the_package_in_a_pack_is_compared_with_the_one_installed(bundles, tmp_path):
    bundle = Path(unpack(pack(str(bundles / "stoic_ctan"), str(tmp_path)), str(tmp_path / "out")))
    found = inspect_bundle(bundle)
    assert "is the one installed here" in found.package
    assert all(reason.startswith("pack wrote it") for *_, reason in found.flagged)
    (changed,) = (bundle / "package").glob("ctan_networks_*/utils.py")
    changed.write_text(changed.read_text() + "\nprint()\n")
    (bundle / "package" / "load.py").write_text("print()\n")
    (bundle / "package" / "sitecustomize.py").write_text("print()\n")
    text = inspect(str(bundle))
    assert "is not the one installed here" in text
    for name in (f"{changed.parent.name}/utils.py", "load.py", "sitecustomize.py"):
        assert f"package/{name}: Python file  (differs" in text


def test_a_packed_bundle_is_examined_as_it_is(bundles, tmp_path, monkeypatch):
    archive = Path(pack(str(bundles / "stoic_ctan"), str(tmp_path)))
    monkeypatch.chdir(tmp_path)
    assert "the copy of ctan_networks is the one installed here" in inspect(str(archive))
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]
    (tmp_path / "page.zip").write_text("<html>")
    with pytest.raises(DataError, match="page.zip"):
        inspect("page.zip")


def test_what_is_no_bundle(tmp_path):
    with pytest.raises(DataError, match="is no bundle"):
        inspect(str(tmp_path))
    bundle = bundle_with(tmp_path, {})
    (bundle / "configs" / "inference.json").write_text("{")
    with pytest.raises(DataError, match=r"inference.json cannot be read"):
        inspect(str(bundle))
