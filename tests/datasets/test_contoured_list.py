# SPDX-License-Identifier: Apache-2.0
"""CTs with contours, in the three forms in which they come."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from drawn_patient import discs, write_drawn_patient

from ctan_networks.datasets.case_reader import CaseReader
from ctan_networks.datasets.contoured_list import contoured_list
from ctan_networks.datasets.openkbp.phantoms import openkbp_cohort
from ctan_networks.datasets.prostate.phantoms import prostate_cohort
from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.roi_names import match_rois

PATTERNS = {"Bladder": ["bladder.*", "(harn)?blase"], "PTV": ["ptv.*"]}


@pytest.fixture(scope="module")
def clinic(tmp_path_factory) -> Path:
    return Path(prostate_cohort(tmp_path_factory.mktemp("clinic"), patients=2))


def test_openkbp_patients(tmp_path):
    root = Path(openkbp_cohort(tmp_path, train=1, validation=1))
    items = contoured_list(root, tmp_path / "converted", {})
    assert [item["case"] for item in items] == ["pt_1", "pt_201"]
    assert items[0]["segmentation"] == str(root / "train-pats" / "pt_1")
    assert [item["case"] for item in contoured_list(root, tmp_path, {}, split="validation")] == ["pt_201"]
    assert contoured_list(root / "train-pats" / "pt_1", tmp_path, {}) == items[:1]
    assert contoured_list(root / "train-pats", tmp_path, {}) == items[:1]


def test_masks_of_dicom_lie_on_the_ct(clinic, tmp_path):
    items = contoured_list(clinic, tmp_path / "converted", PATTERNS)
    assert [item["case"] for item in items] == ["P001", "P002"]
    reader = CaseReader(list(PATTERNS))
    for item in items:
        ct, ct_meta = reader.get_data(Path(item["image"]))
        bits, meta = reader.get_data(Path(item["segmentation"]))
        assert bits.shape == ct.shape and np.allclose(meta["affine"], ct_meta["affine"], atol=1e-3)
        assert meta["present"] == [True, True] and {1, 2} <= set(np.unique(bits)) <= {0, 1, 2, 3}


def test_nifti_patients_and_what_has_no_contours(clinic, tmp_path, caplog):
    converted = Path(contoured_list(clinic / "P001", tmp_path / "converted", PATTERNS)[0]["segmentation"])
    folder = tmp_path / "patients"
    shutil.copytree(converted, folder / "a")
    (folder / "a" / "Bladder.nii.gz").rename(folder / "a" / "bladder.nii")
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)), folder / "plain.nii.gz")
    items = contoured_list(folder, tmp_path / "c", PATTERNS)
    assert [(item["case"], item["segmentation"]) for item in items] == [("a", str(folder / "a"))]
    assert "case a: files that are no structure's: bladder.nii\n" in caplog.text
    assert "skipped: case plain" in caplog.text and "without contours" in caplog.text
    with pytest.raises(DataError, match="needs no contours"):
        contoured_list(folder / "plain.nii.gz", tmp_path / "c", PATTERNS)


def test_the_bundles_patterns_know_names_of_tg_263_and_of_clinics(bundles):
    # Names of the AAPM's TG-263 report, and of habit.
    config = json.loads((bundles / "openkbp_ctan" / "configs" / "given_ptv_inference.json").read_text())
    names = {
        "Brainstem": ["Brainstem", "Brain Stem"],
        "SpinalCord": ["SpinalCord", "Spinal_Cord", "Cord"],
        "RightParotid": ["Parotid_R", "Parotid Rt", "R Parotid", "GlndParotid_R"],
        "LeftParotid": ["Parotid_L", "Lt_Parotid", "LeftParotid"],
        "Esophagus": ["Esophagus", "Oesophagus", "Esophagus_S"],
        "Larynx": ["Larynx", "Larynx_SG"],
        "Mandible": ["Bone_Mandible", "Mandible"],
        "PTV56": ["PTV_5600", "PTV56", "PTV_Low"],
        "PTV63": ["PTV_6300", "PTV 63 Gy", "PTV_Mid"],
        "PTV70": ["PTV_7000", "PTV70Gy", "PTV_High"],
    }
    for structure, rois in names.items():
        for roi in rois:
            assert match_rois([roi], config["usual_roi_patterns"])[0] == {structure: roi}
    apart = ["Brainstem_PRV", "SpinalCord_05", "Parotids", "CTV_7000", "PTV_7000-Skin"]
    assert match_rois(apart, config["usual_roi_patterns"]) == ({}, apart)


PATTERNS_OF_TWO = {"Cord": ["cord"], "Larynx": ["larynx"], "PTV56": ["ptv56"], "PTV70": ["ptv70"]}


@pytest.fixture
def drawn(tmp_path):
    """List a patient with these ROIs."""

    def run(*names: str, **options):
        write_drawn_patient(tmp_path / "P1", [(name, discs(range(4, 9))) for name in names])
        settings = {"targets": ["PTV56", "PTV70"], "organs": ["Cord", "Larynx"]} | options
        return contoured_list(tmp_path / "P1", tmp_path / "converted", PATTERNS_OF_TWO, **settings)

    return run


def test_a_target_under_another_name(drawn, caplog):
    with pytest.raises(DataError, match="needs no contours"):
        drawn("BODY", "PTV_High", "Cord")
    assert "case P1: no target: no ROI has a name that is known for one of PTV56, PTV70." in caplog.text
    assert "The ROIs are BODY, PTV_High, Cord." in caplog.text
    assert """--roi_patterns "{'PTV70': ['PTV_High']}\"""" in caplog.text
    # What the message says.
    (item,) = drawn("BODY", "PTV_High", "Cord", own_patterns={"PTV70": ["PTV_High"]})
    assert sorted(p.name for p in Path(item["segmentation"]).glob("[A-Z]*")) == ["Cord.nii.gz", "PTV70.nii.gz"]


def test_a_second_target_under_another_name(drawn, caplog):
    drawn("PTV70", "PTV_54", "Cord", "Larynx")
    assert "case P1: no ROI has a name that is known for PTV56, and these look like targets" in caplog.text


def test_no_target_at_all(drawn, caplog):
    with pytest.raises(DataError):
        drawn("Cord", "Larynx")
    assert "case P1: no target: none of PTV56, PTV70 is drawn. Add contours, or take the network that" in caplog.text


def test_organs_that_are_expected_and_not_drawn(drawn, caplog):
    for _ in range(2):  # the second time nothing is converted
        caplog.clear()
        drawn("PTV70", "PTV56", "Kehlkopf", "Cord")
        assert (
            "case P1: no contours of Larynx, which the network expects. ROIs that match no structure: Kehlkopf"
            in caplog.text
        )
        assert caplog.records[-1].levelname == "WARNING"
    caplog.clear()
    drawn("PTV70", "PTV56", "Kehlkopf", "Cord", organs=[])
    assert not [r for r in caplog.records if r.levelname == "WARNING"]
    drawn("PTV70", "PTV56", "Kehlkopf", "Cord", own_patterns={"Larynx": "kehlkopf"})
    assert not [r for r in caplog.records if r.levelname == "WARNING"]


def test_masks_that_are_expected_and_not_there(tmp_path, caplog):
    root = Path(openkbp_cohort(tmp_path, train=1, validation=1))
    folder = root / "train-pats" / "pt_1"
    (folder / "Larynx.csv").unlink(missing_ok=True)
    settings = {"targets": ["PTV70"], "organs": ["Larynx", "SpinalCord"]}
    assert contoured_list(folder, tmp_path / "c", {"PTV70": []}, **settings)
    assert "case pt_1: no contours of Larynx, which the network expects" in caplog.text
    (folder / "PTV70.csv").unlink()
    with pytest.raises(DataError):
        contoured_list(folder, tmp_path / "c", {"PTV70": []}, **settings)
    assert "case pt_1: no target: there is no mask of PTV70. Name the target's mask" in caplog.text
