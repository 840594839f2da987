# SPDX-License-Identifier: Apache-2.0
"""Many cases in one process with flat memory and few open files; one very large CT within a stated bound."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from ctan_networks.datasets.ham10000.phantoms import ham10000_cohort
from ctan_networks.datasets.openkbp.phantoms import openkbp_cohort
from ctan_networks.datasets.openkbp.reader import OpenKBPReader

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory and open files are read from Linux's /proc")

# Runs an inference and notes memory and open files after each case.
WATCH = """
import json, os, sys
from pathlib import Path
from ignite.engine import Events
from monai.bundle import ConfigWorkflow

config, output, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
workflow = ConfigWorkflow(config, workflow_type="infer", logging_file=False, **options)
workflow.initialize()
evaluator = workflow.parser.get_parsed_content("evaluator")
seen = []

def look(engine):
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    seen.append((resident, len(os.listdir("/proc/self/fd"))))

evaluator.add_event_handler(Events.ITERATION_COMPLETED, look)
workflow.run()
Path(output).write_text(json.dumps(seen))
"""
# GiB of a process that predicts on 512 x 512 x 600 voxels. Measured: see docs/RELIABILITY.md.
BOUNDS = {"openkbp_ctan": 20.0, "prostate_ctan": 20.0, "stoic_ctan": 8.0}


def watch(bundle: str, folder: Path, data: Path, **options: Any) -> list[tuple[float, int]]:
    """MiB and open files after each case."""
    given = {"dataset_dir": str(data), "output_dir": str(folder / "out"), **options}
    result = folder / "seen.json"
    config = ROOT / "bundles" / bundle / "configs" / "inference.json"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WATCH, str(config), str(result), json.dumps(given)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [tuple(pair) for pair in json.loads(result.read_text())]


def assert_flat(seen: list[tuple[float, int]], warm: int, megabytes: float) -> None:
    early, late = np.array(seen[warm : 2 * warm]), np.array(seen[-warm:])
    first, last = np.median(early, axis=0), np.median(late, axis=0)
    print(
        f"\n{len(seen)} cases: {first[0]:.0f} MiB and {first[1]:.0f} open files after {warm},"
        f" {last[0]:.0f} MiB and {last[1]:.0f} at the end"
    )
    assert last[0] - first[0] < megabytes
    assert late[:, 1].max() <= early[:, 1].max()


@pytest.mark.slow
def test_a_thousand_photographs(tmp_path):
    photos = sorted(Path(ham10000_cohort(tmp_path / "one", lesions=21)).rglob("*.jpg"))
    many = tmp_path / "many"
    many.mkdir()
    for k in range(1000):
        (many / f"photo_{k:04d}.jpg").symlink_to(photos[k % len(photos)])
    seen = watch("ham10000_ctan", tmp_path, many)
    assert len(seen) == 1000 and len(list((tmp_path / "out").glob("*.png"))) == 1000
    assert_flat(seen, 100, 20)


@pytest.mark.slow
def test_a_thousand_volumes(tmp_path):
    """Small ones, so that it takes minutes: what grows would grow with each case, whatever its size."""
    patient = Path(openkbp_cohort(tmp_path / "one", train=1, validation=1)) / "train-pats" / "pt_1"
    volume, meta = OpenKBPReader().get_data(patient / "ct.csv")
    inside = tuple(slice(axis.min(), axis.max() + 1) for axis in np.nonzero(volume > -400))
    many = tmp_path / "many"
    many.mkdir()
    nib.save(nib.Nifti1Image(volume[inside].astype(np.int16), meta["affine"]), tmp_path / "ct.nii.gz")
    for k in range(1000):
        (many / f"ct_{k:04d}.nii.gz").symlink_to(tmp_path / "ct.nii.gz")
    seen = watch("openkbp_ctan", tmp_path, many, **{"network_def#channels": [4, 8, 8], "load_pretrain": False})
    assert len(seen) == 1000
    assert_flat(seen, 100, 30)


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    """512 x 512 x 600 voxels of 0.98 x 0.98 x 2.5 mm: a trunk with neck and head, lungs, bone, a couch and noise."""
    rng = np.random.default_rng(0)
    x = ((np.arange(512) - 255.5) * 0.98)[:, None]
    y = ((np.arange(512) - 255.5) * 0.98)[None]
    volume = np.empty((512, 512, 600), np.int16)
    for k in range(600):
        z = 2.5 * k
        wide, deep = (180.0, 110.0) if z < 1100 else (65.0, 65.0) if z < 1250 else (80.0, 95.0)
        body = (x / wide) ** 2 + (y / deep) ** 2 < 1
        hu = np.where(body, 40.0, -1000.0)
        if 500 < z < 900:
            hu[((abs(x) - 80) / 55) ** 2 + (y / 70) ** 2 < 1] = -800.0
        hu[np.hypot(x, y - 0.6 * deep) < 15] = 600.0
        hu[(abs(y - 160) < 6) & (abs(x) < 200)] = 100.0
        volume[..., k] = np.clip(hu + rng.normal(0, 20, hu.shape), -1024, 3000)
    file = tmp_path_factory.mktemp("large") / "large.nii.gz"
    image = nib.Nifti1Image(volume, np.diag([-0.98, -0.98, 2.5, 1.0]))
    nib.openers.Opener.default_compresslevel = 1
    nib.save(image, file)
    return file


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("bundle", list(BOUNDS))
def test_a_ct_of_157_million_voxels(bundle, large, tmp_path):
    config = ROOT / "bundles" / bundle / "configs" / "inference.json"
    begin = time.monotonic()
    process = subprocess.Popen(
        [
            *(sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", "--config_file", str(config)),
            *("--dataset_dir", str(large), "--output_dir", str(tmp_path / "out")),
        ],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=(tmp_path / "log.txt").open("wb"),
    )
    _, status, usage = os.wait4(process.pid, 0)
    peak = usage.ru_maxrss / 2**20
    print(f"\n{bundle}: {peak:.1f} GiB, {(time.monotonic() - begin) / 60:.1f} min")
    assert status == 0, (tmp_path / "log.txt").read_text()[-3000:]
    assert any((tmp_path / "out").rglob("large*"))
    assert peak < BOUNDS[bundle]
    shutil.rmtree(tmp_path / "out")
