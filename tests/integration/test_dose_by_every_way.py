# SPDX-License-Identifier: Apache-2.0
"""A dose that is not what was prescribed, and a label of another image, stop whichever way they come to a training."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import ConfigParser
from monai.transforms import Compose

from ctan_networks.data import CachedDataset
from ctan_networks.errors import DataError

SHAPE = (40, 40, 24)
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
# Its structures in order, and the target with the highest prescription.
BUNDLES = {"prostate_ctan": "PTV", "openkbp_ctan": "PTV70"}


@pytest.fixture(scope="module")
def parsers(bundles) -> dict[str, ConfigParser]:
    found = {}
    for name in BUNDLES:
        found[name] = ConfigParser()
        found[name].read_config(str(bundles / name / "configs" / "train.json"))
    return found


def write(
    folder: Path, structures: list[str], target: str, as_label: bool, dose: float, label_affine: np.ndarray
) -> dict:
    """A cylinder with a target in its middle: as a patient's folder in NIfTI, or as MONAI Label has it."""
    folder.mkdir()
    x, y, _ = np.meshgrid(*[np.arange(n) - n / 2 for n in SHAPE], indexing="ij")
    hu = np.where(x**2 + y**2 < 17**2, 20, -1000).astype(np.int16)
    inside = np.zeros(SHAPE, np.uint8)
    inside[15:25, 15:25, 8:16] = 1
    gray = np.where(hu > 0, dose / 14, 0.0)
    gray[inside > 0] = dose
    nib.save(nib.Nifti1Image(hu, AFFINE), folder / "ct.nii.gz")
    nib.save(nib.Nifti1Image(gray.astype(np.float32), AFFINE), folder / "dose.nii.gz")
    if not as_label:
        nib.save(nib.Nifti1Image(inside, label_affine), folder / f"{target}.nii.gz")
        paths = {key: str(folder / f"{key}.nii.gz") for key in ("ct", "dose")}
        return {
            "case": "A",
            "image": paths["ct"],
            "segmentation": str(folder),
            "dose": paths["dose"],
            "prescription": 70.0,
        }
    number = structures.index(target) + 1
    nib.save(nib.Nifti1Image(inside * np.uint8(number), label_affine), folder / "label.nii.gz")
    (folder / "ct.json").write_text(json.dumps({"dose": "dose.nii.gz", "prescription": 70}))
    return {"image": str(folder / "ct.nii.gz"), "label": str(folder / "label.nii.gz")}


@pytest.fixture(params=list(BUNDLES))
def prepare(request, parsers, tmp_path):
    """Brings one case to the point at which the bundle caches it, for training and for evaluation."""
    parser, target = parsers[request.param], BUNDLES[request.param]
    structures = list(parser.get("structures"))

    def run(part: str, as_label: bool, dose: float = 70.0, label_affine: np.ndarray = AFFINE) -> dict:
        item = write(
            tmp_path / f"case{len(list(tmp_path.iterdir()))}", structures, target, as_label, dose, label_affine
        )
        adapt = parser.get_parsed_content(f"{part}#dataset#adapt")
        # The random transforms of a training want to know the recipe, and with it the data set.
        steps = {"train": "train#deterministic_transforms", "validate": "validate#preprocessing#transforms"}[part]
        return CachedDataset([item], Compose(parser.get_parsed_content(steps)), None, adapt=adapt)[0]

    return run


@pytest.mark.parametrize("as_label", [False, True], ids=["folder", "MONAI Label"])
@pytest.mark.parametrize("part", ["train", "validate"])
def test_a_dose_and_a_label_that_do_not_fit(prepare, part, as_label):
    # For training, prostate_ctan scales all doses to 78 Gy.
    assert float(np.nanmax(np.asarray(prepare(part, as_label)["dose"]))) in (pytest.approx(70), pytest.approx(78))
    for dose, words in (
        (7000.0, "cGy"),
        (0.9, "relative"),
        (35.0, "median dose of PTV"),
        (140.0, "median dose of PTV"),
    ):
        with pytest.raises(DataError, match=words):
            prepare(part, as_label, dose)
    beside = AFFINE + np.array([[0, 0, 0, 12.0], [0] * 4, [0] * 4, [0] * 4])
    with pytest.raises(DataError, match="the label segmentation lies|not on the grid"):
        prepare(part, as_label, label_affine=beside)
