# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ast
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import jsonschema
import pandas as pd
import pytest

from ctan_networks.errors import ConfigError
from ctan_networks.tools.commands import new_bundle

ROOT = Path(__file__).resolve().parents[3]
TASKS = "seg:segmentation:liver|left lung,dose:regression:1,grade:classification:low|mid|high"
FILES = {
    "LICENSE",
    ".gitignore",
    "configs/train.json",
    "configs/evaluate.json",
    "configs/inference.json",
    "configs/metadata.json",
    "configs/logging.conf",
    "docs/README.md",
    "docs/data_license.txt",
    "tests/test_my_task.py",
    "phantom/cohort/cases.csv",
    "phantom/cohort/PHANTOM.json",
}


def test_the_command_writes_a_bundle_and_says_what_to_run(tmp_path):
    arguments = ["my_task", "--spatial_dims", "3", "--tasks", TASKS, "--name", "Liver and dose"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "ctan_networks", "new_bundle", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    bundle = tmp_path / "my_task"
    assert all((bundle / file).is_file() for file in FILES) and (bundle / "models").is_dir()
    commands = [line.strip() for line in done.stdout.splitlines() if line.startswith("    python")]
    assert len(commands) == 3
    for command in commands:
        given = shlex.split(command)[-1]
        files = ast.literal_eval(given) if given.startswith("[") else [given]
        assert all((tmp_path / file).is_file() for file in files)
    table = pd.read_csv(bundle / "phantom" / "cohort" / "cases.csv")
    assert list(table) == ["case", "image", "seg", "dose", "grade", "group", "split"]
    again = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "ctan_networks", "new_bundle", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert again.returncode != 0 and again.stderr.strip().splitlines()[-1].startswith("ERROR: ")
    assert "is there already" in again.stderr


@pytest.mark.parametrize(("dims", "tasks"), [(3, TASKS), (2, TASKS), (3, "a:classification:2,b:classification:3")])
def test_what_is_written_is_a_bundle_by_its_form(tmp_path, dims, tasks):
    new_bundle("my_task", tasks, dims, output_dir=str(tmp_path / "made"), architecture="mtan")
    bundle = tmp_path / "made" / "my_task"
    read = {name: json.loads((bundle / "configs" / f"{name}.json").read_text()) for name in ("train", "inference")}
    assert read["train"]["architecture"] == "mtan"
    # What only a training needs: the weights of a run hold their encoder.
    training = {"seed", "encoder_weights", "freeze_encoder", "drop_path"}
    same = {k: v for k, v in read["train"]["network_def"].items() if k not in training}
    assert same == {k: v for k, v in read["inference"]["network_def"].items() if k != "stacked"}
    assert read["train"]["tasks"] == read["inference"]["tasks"]
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    outputs = metadata["network_data_format"]["outputs"]["pred"]
    assert metadata["pred_classes"].startswith(f"{outputs['num_channels']} channels: ")
    assert len(metadata["pred_classes"].split(", ")) == outputs["num_channels"]
    # MONAI Label takes every entry but the background for a label.
    labels = ["background", "liver", "left lung"] if "seg" in tasks else []
    assert list(outputs.get("channel_def", {}).values()) == labels
    # What MONAI's schema of 2024-07-25 requires, and the types that it gives.
    required = "schema version monai_version pytorch_version numpy_version required_packages_version task description"
    schema = {"required": [*required.split(), "authors", "copyright", "network_data_format"], "properties": {}}
    schema["properties"]["references"] = {"type": "array", "items": {"type": "string"}}
    schema["properties"] |= {k: {"type": "object"} for k in ("changelog", "required_packages_version", "eval_metrics")}
    jsonschema.validate(metadata, schema)
    for file in bundle.rglob("configs/*.json"):
        text = file.read_text()
        assert text.endswith("}\n") and "\t" not in text and str(tmp_path) not in text
        # A string that begins with a per cent sign is a macro of MONAI's.
        assert '"%' not in text
    words = (bundle / "docs" / "README.md").read_text()
    assert "Research use only" in words and "{" not in words
    assert max(len(line) for line in words.splitlines() if not line.startswith("    ")) <= 120
    compile((bundle / "tests" / "test_my_task.py").read_text(), "test_my_task.py", "exec")
    assert not (tmp_path / "made" / "my_task" / "phantom" / ".writing").exists()
    assert [p.name for p in (tmp_path / "made").iterdir()] == ["my_task"]


def test_wrong_use_is_said_and_leaves_nothing(tmp_path):
    for options, message in (
        ({"bundle": "my task"}, "cannot name a bundle"),
        ({"tasks": "seg:segments:2"}, "'segments'"),
        ({"spatial_dims": 2, "in_channels": 2}, "RGB"),
        ({"architecture": "unet"}, "ctan"),
    ):
        given = {"bundle": "a", "tasks": TASKS, "output_dir": str(tmp_path)} | options
        with pytest.raises(ConfigError, match=message):
            new_bundle(**given)
    assert list(tmp_path.iterdir()) == []
