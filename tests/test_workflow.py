# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.utils import OptionalImportError

from ctan_networks import last_words, workflow
from ctan_networks.errors import ConfigError, DataError, reason_of
from ctan_networks.workflow import bundle_root, choose_recipe, pick_weights

ROOT = Path(__file__).resolve().parents[1]

CONFIG = """{
    "imports": ["$from ctan_networks import workflow", "$from ctan_networks import errors"],
    "bundle_root": "$workflow.bundle_root()",
    "fail": "$errors.fail()",
    "initialize": ["$workflow.explain_errors()", "@bundle_root"],
    "run": ["$print('ROOT', @bundle_root)"]
}"""


@pytest.fixture
def bundle(tmp_path) -> Path:
    folder = tmp_path / "my_bundle"
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "train.json").write_text(CONFIG)
    return folder


@pytest.mark.parametrize("given", ["absolute", "relative", "inside", "overlay"])
def test_bundle_root_from_any_working_directory(bundle, given, monkeypatch):
    config = bundle / "configs" / "train.json"
    if given == "relative":
        monkeypatch.chdir(bundle.parent)
        config = Path("my_bundle/configs/train.json")
    elif given == "inside":
        monkeypatch.chdir(bundle)
        config = Path("configs/train.json")
    files = [str(config)] * 2 if given == "overlay" else str(config)
    workflow = ConfigWorkflow(config_file=files, workflow_type="train", logging_file=False, meta_file=None)
    workflow.initialize()
    assert workflow.parser.get_parsed_content("bundle_root") == str(bundle)


@pytest.mark.parametrize("form", ["--config_file {}", "--config_file={}", "--config_file ['{}','other.json']"])
def test_bundle_root_from_the_command_line_without_a_workflow(bundle, form, monkeypatch):
    config = bundle / "configs" / "train.json"
    monkeypatch.setattr(sys, "argv", ["monai.bundle", "verify_net_in_out", *form.format(config).split(" ")])
    parser = ConfigParser()
    parser.read_config(str(config))
    assert parser.get_parsed_content("bundle_root") == str(bundle)


def test_bundle_root_is_the_working_directory_when_nobody_knows(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["python"])
    assert bundle_root() == "."


@pytest.mark.parametrize("where", ["initialize", "run"])
def test_the_last_thing_a_user_reads_is_the_reason(bundle, where):
    config = bundle / "configs" / "train.json"
    broken = """$(_ for _ in ()).throw(errors.DataError('pt_3/ct.csv, line 7: not a number: write it again'))"""
    text = CONFIG.replace('"run": [', f'"run": ["{broken}", ')
    if where == "initialize":
        text = CONFIG.replace('explain_errors()"', f'explain_errors()", "{broken}"')
    config.write_text(text)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", "--config_file", str(config)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    assert done.stderr.strip().splitlines()[-1] == "ERROR: pt_3/ct.csv, line 7: not a number: write it again"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("variable", "typed", "shown"), [(None, [], 0), ("0", [], 0), ("1", [], 1), (None, ["--debug"], 1)]
)
def test_the_traceback_is_shown_to_whom_it_helps(monkeypatch, capsys, variable, typed, shown):
    monkeypatch.delenv("CTAN_DEBUG", raising=False)
    if variable is not None:
        monkeypatch.setenv("CTAN_DEBUG", variable)
    monkeypatch.setattr(sys, "argv", ["program", *typed])
    for error in (
        DataError("a.csv is empty"),
        OptionalImportError("import mlflow (No module named 'mlflow')."),
        KeyError("x"),
    ):
        last_words._explain(type(error), error, None)
        said = capsys.readouterr().err
        ours = not isinstance(error, KeyError)
        assert ("Error: " in said) == (shown or not ours), said
        if ours:
            assert (
                said.strip().splitlines()[-1].startswith(("ERROR: a.csv is empty", "ERROR: the Python package mlflow"))
            )


def test_a_full_disk_is_the_reason_wherever_it_was(monkeypatch, capsys):
    """MONAI wraps it in what it could not make; what this package says of it comes first."""
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    before = signal.getsignal(signal.SIGTERM)
    workflow.explain_errors()
    signal.signal(signal.SIGTERM, before)
    full = OSError(errno.ENOSPC, "No space left on device", "tensorboard")
    wrapped = RuntimeError("Failed to instantiate component")
    wrapped.__cause__ = full
    sys.excepthook(RuntimeError, wrapped, None)
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("ERROR: a disk is full ([Errno 28] No space left on device: 'tensorboard')")
    assert "--resume True" in last
    ours = DataError("cannot write last.pt: free space")
    ours.__cause__ = full
    sys.excepthook(DataError, ours, None)
    assert capsys.readouterr().err.strip().splitlines()[-1] == "ERROR: cannot write last.pt: free space"
    sys.excepthook(OSError, OSError(errno.ENOENT, "No such file"), None)
    assert "ERROR" not in capsys.readouterr().err
    # A folder that is a file, one that may not be written to: TensorBoard's is the first that is made.
    for number in (errno.ENOTDIR, errno.EROFS, errno.EACCES):
        wrapped.__cause__ = OSError(number, os.strerror(number), "out/tensorboard")
        sys.excepthook(RuntimeError, wrapped, None)
        last = capsys.readouterr().err.strip().splitlines()[-1]
        assert last.startswith(f"ERROR: out/tensorboard cannot be used ({os.strerror(number)}). Check")


def test_a_signal_is_the_reason_where_a_worker_ended_first(monkeypatch, capsys):
    """A cluster signals all processes; torch's handler then raises in the midst of whatever goes on."""
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    before = signal.getsignal(signal.SIGTERM)
    workflow.explain_errors()
    signal.signal(signal.SIGTERM, before)
    worker = RuntimeError("DataLoader worker (pid 11239) is killed by signal: Terminated. ")
    during = RuntimeError("DataLoader worker (pid 7) exited unexpectedly")
    during.__context__ = KeyboardInterrupt("SIGTERM")
    for error in (worker, during, KeyboardInterrupt("SIGTERM")):
        sys.excepthook(type(error), error, None)
        said = capsys.readouterr().err.strip()
        assert said.startswith("STOPPED (SIGTERM).") and "--resume True" in said and "\n" not in said
    sys.excepthook(RuntimeError, RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), None)
    assert "STOPPED" not in capsys.readouterr().err


RECIPES = {"phantom": {"epochs": 1}, "cpu": {"epochs": 2}, "gpu": {"epochs": 3}}


@pytest.mark.parametrize(
    ("phantom", "gpu", "name", "epochs"),
    [
        (True, False, None, 1),
        (True, True, None, 1),
        (False, False, None, 2),
        (False, True, None, 3),
        (True, True, "cpu", 2),
    ],
)
def test_recipe_fits_data_and_machine_and_is_said(phantom, gpu, name, epochs, caplog):
    caplog.set_level("INFO")
    assert choose_recipe(RECIPES, phantom, gpu, name) == {"epochs": epochs}
    assert f"epochs {epochs}" in caplog.text
    assert ("PHANTOM" in caplog.text) == phantom
    with pytest.raises(ConfigError, match="phantom, cpu, gpu"):
        choose_recipe(RECIPES, phantom, gpu, "tpu")


def test_what_was_given_stands_in_the_line_of_the_recipe(tmp_path, caplog):
    config = {
        "imports": ["$from ctan_networks import workflow"],
        "recipes": {name: {"epochs": 24, "batch_size": 8} for name in RECIPES},
        "recipe": "$workflow.choose_recipe(@recipes, False, False)",
        "epochs": "$@recipe['epochs']",
        "batch_size": "$@recipe['batch_size']",
        "initialize": ["$@recipe"],
        "run": [],
    }
    file = tmp_path / "train.json"
    file.write_text(json.dumps(config))
    caplog.set_level("INFO")
    ConfigWorkflow(str(file), workflow_type="train", logging_file=False, epochs=1).initialize()
    assert "epochs 1 (given), batch_size 8" in caplog.text
    misspelt = {"recipes#cpu": {"epoch": 3}}
    with pytest.raises(RuntimeError) as caught:
        ConfigWorkflow(str(file), workflow_type="train", logging_file=False, **misspelt).initialize()
    assert reason_of(caught.value) == "recipe 'cpu': there is no epoch. Did you mean epochs?"


def test_pick_weights_takes_the_first_that_is_there(tmp_path):
    (tmp_path / "b.pt").touch()
    assert pick_weights(tmp_path / "a.pt", tmp_path / "b.pt") == str(tmp_path / "b.pt")
    with pytest.raises(ConfigError, match=r"a\.pt and .*c\.pt.*--checkpoint"):
        pick_weights(tmp_path / "a.pt", tmp_path / "c.pt")


def test_phantom_weights_are_called_so(tmp_path, caplog):
    shipped = tmp_path / "bundle" / "models" / "model.pt"
    (tmp_path / "bundle" / "configs").mkdir(parents=True)
    metadata = tmp_path / "bundle" / "configs" / "metadata.json"
    for weights, expected in (("phantom", True), ("OpenKBP: 169 patients", False)):
        metadata.write_text(json.dumps({"weights": weights}))
        caplog.clear()
        assert workflow.warn_of_phantom_weights(shipped, tmp_path / "bundle") is expected
        assert ("PHANTOM WEIGHTS" in caplog.text) is expected
    # What a training wrote beside its weights counts before what the bundle says of its own.
    metadata.write_text(json.dumps({"weights": "phantom"}))
    for phantom in (True, False):
        (tmp_path / "model.json").write_text(json.dumps({"phantom": phantom}))
        assert workflow.warn_of_phantom_weights(tmp_path / "model.pt", tmp_path / "bundle") is phantom
    (tmp_path / "model.json").unlink()
    assert workflow.warn_of_phantom_weights(tmp_path / "elsewhere.pt", tmp_path / "bundle") is False


FAULTS = """
import resource, sys
import torch
from ctan_networks.workflow import keep_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

if len(sys.argv) > 1:
    keep_memory(*(int(limit) for limit in sys.argv[2:]))
torch.manual_seed(0)
network = torch.nn.Sequential(torch.nn.Conv3d(1, 16, 1), torch.nn.ReLU(), torch.nn.Conv3d(16, 16, 1), torch.nn.ReLU())
image = torch.randn(1, 1, 96, 96, 96)
for k in range(8):
    if k == 3:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    network(image).square().mean().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_kept():
    """Pages that the system has to clear in five steps, and what the process holds behind them."""

    def run(*arguments: str) -> list[int]:
        done = subprocess.run(
            [sys.executable, "-c", FAULTS, *arguments], capture_output=True, text=True, check=True, cwd=ROOT
        )
        return [int(word) for word in done.stdout.split()]

    (faults, resident), (kept_faults, kept) = run(), run("keep")
    assert kept_faults < faults / 5 and kept > resident + 100 * 2**20
    assert run("keep", str(2**30))[0] < faults / 5
