# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from ctan_networks.errors import ConfigError
from ctan_networks.tools import commands
from ctan_networks.tools.run_command import run_command


def run(*typed):
    """What a command is called with; nothing where it is not called."""
    called: list[dict] = []

    def make(
        output_dir: str, dataset_dir: Any = None, seeds: int = 1, dose: float | None = None, dry: bool = False
    ) -> None:
        called.append({"output_dir": output_dir, "dataset_dir": dataset_dir, "seeds": seeds, "dose": dose, "dry": dry})

    def free(bundle: str, **more: Any) -> None:
        called.append({"bundle": bundle, **more})

    try:
        run_command({"make": make, "free": free}, typed, "program")
    except ConfigError as error:
        return str(error) if not called else "called"
    except SystemExit as stop:
        return stop.code
    (given,) = called
    return given


@pytest.mark.parametrize("path", ["2025", "1e3", "a, b", "run#3", "None", "(a)", "'q'"])
def test_text_is_what_was_typed(path):
    assert run("make", path)["output_dir"] == run("make", "--output_dir", path)["output_dir"] == path
    assert run("free", f"--bundle={path}")["bundle"] == path
    assert run("make", "x", "--dataset_dir", path)["dataset_dir"] == path


def test_other_kinds_are_what_they_look_like():
    given = run("make", "x", "--dataset-dir", "['~/a','~/b']", "--seeds", "3", "--dose=70", "--dry")
    assert given == {"output_dir": "x", "dataset_dir": ["~/a", "~/b"], "seeds": 3, "dose": 70.0, "dry": True}
    assert run("make", "x", "--dose", "None", "--nodry", "--debug")["dry"] is False
    assert run("free", "x", "--epochs", "3", "--image_size", "[8, 8]") == {
        "bundle": "x",
        "epochs": 3,
        "image_size": [8, 8],
    }


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["make", "x", "--seed", "3"], "make: there is no --seed. Did you mean --seeds?"),
        (["make", "x", "--outputdir", "y"], "Did you mean --output_dir?"),
        (["make", "x", "--seeds", "two"], "--seeds must be a whole number, not 'two'"),
        (["make", "x", "--seeds", "2.5"], "--seeds must be a whole number"),
        (["make", "x", "--dose", "70Gy"], "--dose must be a number"),
        (["make", "a", "b", "3", "4", "True", "6"], "at most 5 arguments: what is '6'?"),
    ],
)
def test_what_a_command_does_not_take_is_said_before_it_is_called(typed, said):
    assert said in run(*typed)


@pytest.mark.parametrize("name", commands.__all__)
def test_help_is_help(name, capsys):
    for typed in ([name, "--help"], [name, "-h"]):
        with pytest.raises(SystemExit) as stop:
            run_command({name: getattr(commands, name)}, typed, "ctan_networks")
        said = capsys.readouterr()
        assert stop.value.code == 0 and "SYNOPSIS" in said.out + said.err and "INFO" not in said.err
