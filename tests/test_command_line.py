# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from fire.parser import DefaultParseValue
from monai.bundle import ConfigWorkflow

from ctan_networks.command_line import check_kinds, check_known, check_paths, read_arguments
from ctan_networks.errors import ConfigError, reason_of

# Folders that people give their runs.
CHANGED = [
    "2025", "1e3", "1_000", "0x10", "3.10", "-5", "a, b", "a,b", "run#3", "run # 3", "x#", "(a)", "[a]", "{a}",
    "{a: b}",    "True", "None", "...", "1j", "b'x'", "1e400", "1.", "x,",
]  # fmt: skip
KEPT = [
    "run",
    "./2025",
    "./run#3",
    "/t/run#3",
    "./a, b",
    "007",
    "2025-10-11",
    "a b",
    "C:\\runs",
    "run::3",
    "é",
    "a=b",
    "a+b",
]


def arrive(value):
    """What MONAI is given for an option."""
    return {"output_dir": DefaultParseValue(value)}


@pytest.mark.parametrize("value", CHANGED)
def test_a_path_that_does_not_arrive_is_refused_with_one_that_does(value):
    assert DefaultParseValue(value) != value
    with pytest.raises(ConfigError, match="--output_dir") as caught:
        check_paths({"output_dir": value}, arrive(value))
    better = f"./{value}"
    assert better in str(caught.value) and DefaultParseValue(better) == better
    check_paths({"output_dir": better}, arrive(better))


@pytest.mark.parametrize("value", [*KEPT, "'2025'", '"a, b"'])
def test_a_path_that_arrives_is_taken(value):
    check_paths({"output_dir": value}, arrive(value))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"output_dir": None}, "has no value"),
        ({"checkpoint": ""}, "has no value"),
        ({"split_file": "  "}, "has no value"),
        ({"output_dir": "~/out"}, "has not replaced the ~"),
        ({"output_dir": "@runs"}, r"Type \./@runs"),
        ({"train#dataset#cache_dir": "1e3"}, "train#dataset#cache_dir"),
        ({"encoder_weights": "2024"}, "encoder_weights"),
    ],
)
def test_what_is_no_path_is_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        check_paths(options, {})


def test_references_and_other_options_are_left_alone():
    check_paths({"checkpoint": "@weights"}, {"weights": "model.pt"})
    check_paths({"output_dir": "$@bundle_root + '/x'", "epochs": "3", "image_size": "[64, 64]", "fold": None}, {})


def test_several_folders(tmp_path, monkeypatch):
    for value in ("['~/a','~/b']", "a,b", "(a, b)"):
        check_paths({"dataset_dir": value}, {"dataset_dir": DefaultParseValue(value)})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a,b").mkdir()
    with pytest.raises(ConfigError, match=r"Type \./a,b"):
        check_paths({"dataset_dir": "a,b"}, {"dataset_dir": ("a", "b")})
    check_paths({"dataset_dir": "~/a"}, {"dataset_dir": "~/a"})


@pytest.mark.parametrize(
    "config", [{"output_dir": 2025}, {"dataset_dir": ["a", 2024]}, {"cache_dir": True}, {"split_file": ["a"]}]
)
def test_paths_of_another_program_or_file_are_text(config):
    (name,) = config
    with pytest.raises(ConfigError, match=f"{name} must be a path"):
        check_paths({}, config)
    check_paths({}, {"output_dir": Path("a"), "dataset_dir": [Path("a"), "b"], "cache_dir": None, "epochs": 3})


def test_arguments_are_divided_as_fire_does():
    typed = ["run", "--a", "1", "--b-c=x y", "-d", "--e", "--f", "-5", "last", "--", "--help"]
    plain, options = read_arguments(typed)
    assert plain == ["run", "last"]
    assert options == {"a": "1", "b_c": "x y", "d": None, "e": None, "f": "-5"}


def test_unknown_options_are_refused():
    known = ["epochs", "output_dir", "network_def"]
    check_known(["epochs", "network_def#channels", "network_def::norm", "+output_dir"], known, "the bundle")
    with pytest.raises(ConfigError, match=r"the bundle: there is no --epoch\. Did you mean --epochs\?"):
        check_known(["epoch"], known, "the bundle")
    with pytest.raises(ConfigError, match="no --zzz. There are: --epochs, --network_def, --output_dir"):
        check_known(["zzz"], known, "the bundle")


DEFAULTS = {
    "resume": False,
    "seed": 0,
    "dropout": 0.1,
    "amp": "$@recipe['amp']",
    "epochs": "$@recipe['epochs']",
    "task": None,
    "image_size": [8, 8],
    "recipes": {"cpu": {"epochs": 3, "amp": "$engines.fast()"}, "gpu": {"epochs": 9, "amp": True}},
}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("resume", "false", "--resume must be True or False, not 'false'"),
        ("resume", "no", "True or False"),
        ("resume", "0", "True or False"),
        ("amp", "off", "--amp must be True or False"),
        ("epochs", "ten", "--epochs must be a number, such as 3, not 'ten'"),
        ("seed", "1,000", "--seed must be a number"),
        ("seed", None, "--seed must be a number"),
        ("dropout", "0.1%", "--dropout must be a number"),
    ],
)
def test_text_is_no_switch_and_no_number(name, value, said):
    with pytest.raises(ConfigError, match=said):
        check_kinds({name: value}, DEFAULTS)


def test_switches_and_numbers_are_taken():
    given = {"resume": None, "amp": "True", "epochs": "3", "seed": "1e3", "dropout": "0", "task": "dose"}
    check_kinds(given, DEFAULTS)
    check_kinds({"amp": "$engines.fast()", "epochs": "@more", "image_size": "64", "seed": "None", "new": "x"}, DEFAULTS)


CONFIG = {
    "imports": ["$from ctan_networks import workflow"],
    "output_dir": "out",
    "epochs": 3,
    "doubled": "$@epochs * 2 + (@more if False else 0)",
    "initialize": ["$workflow.check_options()"],
    "run": ["$print(@output_dir)"],
}


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ([], None),
        (["--output_dir", "x", "--epochs", "3", "--doubled#x", "1", "--more", "1"], None),
        (["--tracking", "mlflow", "--experiment_name", "a", "--debug"], None),
        (["--outputdir", "x"], "Did you mean --output_dir"),
        (["--output-dir", "2025"], r"\./2025"),
        (["--validate#handlers", "[]"], None),
        (["--epochs", "three"], "--epochs must be a number"),
        (["--validation#handlers", "[]"], "no --validation. Did you mean --validate"),
    ],
)
def test_a_bundle_checks_what_was_typed(tmp_path, monkeypatch, typed, said):
    files = [tmp_path / "configs" / name for name in ("train.json", "more.json")]
    files[0].parent.mkdir()
    files[0].write_text(json.dumps(CONFIG))
    files[1].write_text(json.dumps({"validate#handlers": [], "+run": ["$1"], "validate": {}}))
    listed = [str(file) for file in files]
    program = "/somewhere/monai/bundle/__main__.py"
    monkeypatch.setattr(sys, "argv", [program, "run", "--config_file", str(listed), *typed])
    given = {"output_dir": 2025} if "2025" in typed else {}
    workflow = ConfigWorkflow(listed[0], workflow_type="train", logging_file=False, **given)
    if said is None:
        workflow.initialize()
        return
    with pytest.raises(RuntimeError) as caught:
        workflow.initialize()
    assert re.search(said, reason_of(caught.value))
