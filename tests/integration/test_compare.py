# SPDX-License-Identifier: Apache-2.0
"""The comparison command on a small phantom cohort."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from ctan_networks.datasets.ham10000.phantoms import ham10000_cohort
from ctan_networks.errors import ConfigError
from ctan_networks.tools.commands import compare

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "network_def#channels": [8, 16, 16],
    "network_def#norm": ["GROUP", {"num_groups": 2}],
    "image_size": [32, 32],
    "batch_size": 8,
    "num_workers": 0,
}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> str:
    return ham10000_cohort(tmp_path_factory.mktemp("cohort"), lesions=70)


@pytest.fixture(scope="module")
def bundle(bundle_copy) -> str:
    return str(bundle_copy("ham10000_ctan", small={}, quick={}).folder)


def test_the_plan_is_printed_as_commands(bundle, cohort, tmp_path, capsys):
    output = str(tmp_path / "2025")
    compare(bundle, cohort, output, seeds=2, weightings="equal,dwa", max_steps=4, dry_run=True, **SMALL)
    assert not Path(output).exists()
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 2 * (2 + 3 * 2)
    assert all(line.count("monai.bundle run") == 2 and "--max" not in line for line in lines)
    assert len({line.split("--output_dir ")[1].split()[0] for line in lines}) == len(lines)
    with pytest.raises(ConfigError, match="there is no --epoch. Did you mean --epochs"):
        compare(bundle, cohort, str(tmp_path), dry_run=True, epoch=3)
    with pytest.raises(ConfigError, match="compared, diagnosis: there is no accurcy"):
        compare(bundle, cohort, str(tmp_path), dry_run=True, **SMALL, compared={"diagnosis": ["accurcy"]})
    with pytest.raises(ConfigError, match="unet"):
        compare(bundle, cohort, str(tmp_path), architectures="unet", dry_run=True)
    with pytest.raises(ConfigError, match="cannot be compared"):
        compare(str(tmp_path), cohort, dry_run=True)


def test_an_encoder_is_that_of_every_run_in_folders_of_its_own(bundle, cohort, tmp_path, capsys):
    options = {"max_steps": 4, "dry_run": True, **SMALL}
    compare(bundle, cohort, str(tmp_path), **options)
    plain = capsys.readouterr().out.strip().splitlines()
    given = {"encoder": "efficientnet-lite0", "encoder_weights": "imagenet", "encoder_learning_rate": 1e-4}
    compare(bundle, cohort, str(tmp_path), **options, **given)
    lines = capsys.readouterr().out.strip().splitlines()
    assert [line.split("--architecture ")[1].split()[0] for line in lines] == ["stl", "stl", "hps", "mtan", "ctan"]
    for line in lines:
        assert line.count("--encoder efficientnet-lite0") == line.count("--encoder_weights imagenet") == 2
    folders = [line.split("--output_dir ")[1].split()[0] for line in plain + lines]
    assert len(set(folders)) == 10


@pytest.mark.slow
def test_a_killed_comparison_ends_with_the_same_table(bundle, cohort, tmp_path):
    """SIGKILL in the middle of a training, called again: every metric as in one go, bit for bit."""
    options = {"architectures": "stl,ctan", "seeds": 1, "max_steps": 30, **SMALL}
    compare(bundle, cohort, str(tmp_path / "whole"), **options)
    arguments = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    command = [sys.executable, "-W", "ignore", "-m", "ctan_networks", "compare", "--bundle", bundle]
    command += ["--dataset_dir", cohort, "--output_dir", str(tmp_path / "cut"), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)
    while not any((tmp_path / "cut" / "runs").glob("stl_diagnosis*/last.pt")):
        assert process.poll() is None and time.sleep(0.05) is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = [p for p in (tmp_path / "cut" / "runs").iterdir() if (p / "evaluation" / "summary.json").is_file()]
    subprocess.run(command, env=environment, check=True, stderr=subprocess.DEVNULL, timeout=300)
    tables = [pd.read_csv(tmp_path / name / "comparison.csv") for name in ("whole", "cut")]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    result = json.loads((tmp_path / "cut" / "comparison.json").read_text())
    assert finished and result["phantom"] is True and "PHANTOM" in result["paragraph"]
    assert [row["method"] for row in result["delta_mtl"]] == ["CTAN, equal"]
    assert set(result["cost"]) == {"STL segmentation", "STL diagnosis", "CTAN"}
    page = (tmp_path / "cut" / "comparison.html").read_text()
    assert "PHANTOM RESULT" in page and "CTAN, equal" in page
