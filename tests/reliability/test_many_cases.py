# SPDX-License-Identifier: Apache-2.0
"""A data set of 10,000 cases: the first step of a training does not wait until all have been read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ctan_networks.datasets.openkbp.phantoms import openkbp_cohort
from ctan_networks.datasets.prostate.data_list import dicom_rt_list
from ctan_networks.datasets.prostate.phantoms import prostate_cohort
from ctan_networks.datasets.stoic.phantoms import stoic_cohort

ROOT = Path(__file__).resolve().parents[2]
DRIVER = Path(__file__).with_name("first_step.py")
CASES = 10_000
pytestmark = pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counts what Linux counts")


def first_step(bundle: str, folder: Path, work: Path, **options: Any) -> dict[str, Any]:
    """Train up to the first step: how often each file of the folder was opened, and the other numbers of the driver."""
    result = work / "result.json"
    settings = {
        "dataset_dir": str(folder),
        "output_dir": str(work / "run"),
        "cache_dir": str(work / "cache"),
        "num_workers": 0,
        "network_def#channels": [16, 16, 16],
    } | options
    config = ROOT / "bundles" / bundle / "configs" / "train.json"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(DRIVER), str(folder), str(result), str(config), json.dumps(settings)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(result.read_text())
    result.unlink()
    found["opened"] = Counter(os.path.relpath(path, folder) for path in found["opened"])
    print(f"{bundle}: {found['seconds']} s, {found['opened'].total()} opens, {found['bytes'] / 1e6:.1f} MB")
    return found


def cases_of(opened: Counter, depth: int) -> set[str]:
    """The folders or files, so many levels down, in which something was opened."""
    return {Path(path).parts[depth] for path in opened}


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@pytest.mark.slow
def test_openkbp(tmp_path):
    one = Path(openkbp_cohort(tmp_path / "one", train=1, validation=1))
    data = tmp_path / "provided-data"
    for part in ("train-pats", "validation-pats"):
        (data / part).mkdir(parents=True)
    for number in range(CASES):
        (data / "train-pats" / f"pt_{number}").symlink_to(one / "train-pats" / "pt_1")
    (data / "validation-pats" / "pt_20000").symlink_to(next((one / "validation-pats").iterdir()))
    found = first_step("openkbp_ctan", data, tmp_path, crop_size=[32, 32, 32], recipe_name="phantom")
    assert found["listed"] == CASES
    assert len(cases_of(found["opened"], 1)) == 1 and found["opened"].total() <= 30
    assert found["bytes"] < 10 * size(one)


@pytest.mark.slow
def test_stoic(tmp_path):
    """Age and sex, by which results are reported, stand in the header of each volume: headers are read, voxels not."""
    one = Path(stoic_cohort(tmp_path / "one", patients=10))
    volume = next((one / "data" / "mha").iterdir())
    data = tmp_path / "stoic"
    (data / "data" / "mha").mkdir(parents=True)
    (data / "metadata").mkdir()
    for number in range(CASES):
        os.link(volume, data / "data" / "mha" / f"{number}.mha")
    rows = [f"{number},{number % 2},{number % 4 == 1:d}" for number in range(CASES)]
    table = "\n".join(["PatientID,probCOVID,probSevere", *rows])
    (data / "metadata" / "reference.csv").write_text(table + "\n")
    found = first_step("stoic_ctan", data, tmp_path, batch_size=2, recipe_name="phantom", image_size=[48, 48, 48])
    assert found["listed"] == 6000
    volumes = Counter({path: count for path, count in found["opened"].items() if path.endswith(".mha")})
    assert len(volumes) == CASES and sum(count > 1 for count in volumes.values()) == 2
    assert found["bytes"] < 10 * size(one) + CASES * 16384 < CASES * volume.stat().st_size / 5


@pytest.mark.slow
def test_ham10000(tmp_path):
    """Duplicates are found by looking at every image, once for a list of parts."""
    data, masked = tmp_path / "ham", 500
    (data / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = ["lesion_id,image_id,dx"]
    for number in range(CASES):
        picture = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((32, 24))
        picture.save(data / "images" / f"ISIC_{number:07d}.jpg")
        if number < masked:
            picture.convert("1").save(data / "images" / f"ISIC_{number:07d}_segmentation.png")
        lines.append(f"HAM_{number // 2:07d},ISIC_{number:07d},{('mel', 'nv', 'bcc')[number % 3]}")
    (data / "HAM10000_metadata.csv").write_text("\n".join(lines) + "\n")
    options = {"batch_size": 4, "recipe_name": "phantom"}
    first = first_step("ham10000_ctan", data, tmp_path, **options)["opened"]
    assert len(first) == CASES + masked + 1
    second = first_step("ham10000_ctan", data, tmp_path, **options, cache_dir=str(tmp_path / "empty"))
    assert second["listed"] > 0.6 * CASES
    # The sizes of an image and its mask are compared in the list; the first batch is read.
    without_mask = [path for path in second["opened"] if path.endswith(".jpg") and int(path[-11:-4]) >= masked]
    assert 1 <= len(without_mask) <= 4
    assert second["opened"].total() <= 2 * masked + 1 + 2 * 4


@pytest.fixture
def prostate(tmp_path) -> tuple[Path, Path, dict[str, Any]]:
    """A phantom in DICOM, the same as NIfTI, and how the bundle lists it."""
    one = Path(prostate_cohort(tmp_path / "one", patients=1)) / "P001"
    config = json.loads((ROOT / "bundles" / "prostate_ctan" / "configs" / "train.json").read_text())
    patterns = {"patterns": config["usual_roi_patterns"]}
    (listed,) = dicom_rt_list(one.parent, tmp_path / "converted", **patterns)
    return one, Path(listed["image"]).parent, patterns


@pytest.mark.slow
def test_prostate_as_nifti(prostate, tmp_path):
    """A patient as clinics make them by themselves: without the prescription that a conversion notes."""
    _, nifti, _ = prostate
    (nifti / "provenance.json").unlink()
    data = tmp_path / "patients"
    data.mkdir()
    for number in range(CASES):
        (data / f"folder_{number:05d}").symlink_to(nifti)
    options = {"crop_size": [32, 32, 32], "recipe_name": "phantom", "prescription": 78.0}
    found = first_step("prostate_ctan", data, tmp_path, **options)
    assert found["listed"] == 6800
    assert len(cases_of(found["opened"], 0)) == 1 and found["opened"].total() <= 30


@pytest.mark.slow
def test_prostate_as_dicom_that_was_converted_before(prostate, tmp_path):
    """DICOM is converted once, which reads all; after that, one header a patient, and the same small file."""
    dicom, nifti, _ = prostate
    data, converted = tmp_path / "patients", tmp_path / "cache" / "converted"
    data.mkdir()
    converted.mkdir(parents=True)
    for number in range(CASES):
        (data / f"folder_{number:05d}").symlink_to(dicom)
        (converted / f"folder_{number:05d}").symlink_to(nifti)
    found = first_step("prostate_ctan", data, tmp_path, crop_size=[32, 32, 32], recipe_name="phantom")
    assert found["listed"] == 6800
    assert found["opened"].total() <= 2 * CASES and found["bytes"] < CASES * 32768
