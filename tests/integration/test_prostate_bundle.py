# SPDX-License-Identifier: Apache-2.0
"""The prostate bundle as its users run it, on a few phantom patients in DICOM."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest

from ctan_networks.datasets.prostate.phantoms import prostate_cohort
from ctan_networks.radiotherapy.dicom.patient_folder import read_ct, read_treatment_plan, scan_folder
from ctan_networks.radiotherapy.dicom.rasterise import rasterise
from ctan_networks.radiotherapy.dicom.rtdose import read_dose
from ctan_networks.radiotherapy.dicom.rtstruct import read_structures
from ctan_networks.radiotherapy.image_mark import is_marked, series_content

NAME = "prostate_ctan"
SMALL = {"network_def#channels": [4, 8, 8]}
STRUCTURES = ["Bladder", "Rectum", "FemoralHeadLeft", "FemoralHeadRight", "PTV"]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return Path(prostate_cohort(tmp_path_factory.mktemp("cohort"), patients=5))


@pytest.fixture(scope="module")
def bundle(bundle_copy):
    return bundle_copy(NAME, small=SMALL, quick={"crop_size": [32, 32, 16]})


@pytest.fixture(scope="module")
def trained(bundle, cohort, tmp_path_factory) -> Path:
    return bundle.train(cohort, tmp_path_factory.mktemp("run") / "ctan", epochs=2)


def test_training_leaves_weights_history_parts_and_says_phantom(trained):
    described = json.loads((trained / "model.json").read_text())
    assert described["phantom"] is True and described["structures"] == STRUCTURES
    names = set(pd.read_csv(trained / "history.csv")["name"])
    assert {"loss_segmentation", "loss_dose", "dice", "dose_score", "dvh_score", "score"} <= names
    assert set(pd.read_csv(trained / "split.csv")["part"]) == {"train", "validation", "test"}


@pytest.mark.parametrize(
    ("architecture", "task", "metrics"),
    [("mtan", None, 3), ("hps", None, 3), ("stl", None, 1), ("stl", "dose", 2)],
)
def test_architecture_is_swapped_by_a_word(bundle, cohort, tmp_path, architecture, task, metrics):
    output = bundle.train(cohort, tmp_path / "run", architecture=architecture, task=task)
    names = set(pd.read_csv(output / "history.csv")["name"])
    assert len(names & {"dice", "dose_score", "dvh_score"}) == metrics


def test_evaluation_reports_what_a_planner_reads(bundle, cohort, trained, tmp_path):
    summary = bundle.evaluate(cohort, trained, evaluation_dir=str(tmp_path / "e"))
    assert {row["structure"] for row in summary["goals"]} == {"PTV", "Bladder", "Rectum"}
    table = pd.read_csv(tmp_path / "e" / "metrics.csv")
    assert {"plan", "goal", "dose", "segmentation"} <= set(table["task"])
    page = (tmp_path / "e" / "report.html").read_text()
    assert "PHANTOM" in page and "Goals of the plan" in page
    # The reference plan of a phantom covers its target.
    reference = next(r for r in summary["goals"] if r["structure"] == "PTV" and "D_95" in str(r))
    assert reference["n"] == summary["cases"]


def test_a_dose_is_predicted_in_the_patients_own_prescription(bundle, cohort, trained, tmp_path):
    """The network's dose is relative: at another prescription it is another dose."""
    own, other = (
        bundle.infer(cohort / "P001", trained, tmp_path / name, **extra)
        for name, extra in (("own", {}), ("other", {"prescription": 39.0}))
    )
    stated = float(
        pydicom.dcmread(scan_folder(cohort / "P001").plans[0]).DoseReferenceSequence[0].TargetPrescriptionDose
    )
    doses = [nib.load(folder / "P001" / "P001_dose.nii.gz").get_fdata() for folder in (own, other)]
    assert doses[0].max() > 0
    assert np.allclose(doses[1] * stated / 39.0, doses[0], atol=1e-3)


def test_inference_from_dicom_to_dicom(bundle, cohort, trained, tmp_path):
    out = bundle.infer(cohort, trained, tmp_path / "out", export_dicom=True)
    for patient in ("P001", "P002"):
        series = read_ct(scan_folder(cohort / patient))
        folder = out / patient / "dicom"
        assert sorted(p.name for p in folder.iterdir()) == ["RTDOSE.dcm", "RTPLAN.dcm", "RTSTRUCT.dcm", *_seg(folder)]
        dose, plan = pydicom.dcmread(folder / "RTDOSE.dcm"), pydicom.dcmread(folder / "RTPLAN.dcm")
        assert dose.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID == plan.SOPInstanceUID
        prescription = read_treatment_plan(scan_folder(cohort / patient)).prescription
        assert plan.DoseReferenceSequence[0].TargetPrescriptionDose == prescription
        result = json.loads((out / patient / f"{patient}_result.json").read_text())
        assert result["dose"]["prescription"] == prescription
        assert is_marked(series_content(series.uid), result["image"]["series"])
        assert dose.FrameOfReferenceUID == series.frame_of_reference
        image = nib.load(out / patient / f"{patient}_dose.nii.gz")
        assert image.shape == series.shape
        # The NIfTI and the DICOM file hold the same dose at the same place.
        grid = read_dose(folder / "RTDOSE.dcm")
        where = np.unravel_index(grid.dose.argmax(), grid.dose.shape)
        x, y, z = (grid.affine @ [*where, 1])[:3]
        index = np.round(np.linalg.inv(image.affine) @ [-x, -y, z, 1])[:3].astype(int)
        assert image.get_fdata()[tuple(index)] == pytest.approx(grid.dose.max(), abs=1e-3)
        masks = nib.load(out / patient / f"{patient}_structures.nii.gz").get_fdata()
        rois = {s.name: s for s in read_structures(folder / "RTSTRUCT.dcm")}
        assert list(rois) == STRUCTURES
        for k, name in enumerate(STRUCTURES):
            volume = rasterise(rois[name].contours, series.affine, series.shape).sum()
            assert volume == masks[..., k].sum()


def _seg(folder: Path) -> list[str]:
    return ["SEG.dcm"] if (folder / "SEG.dcm").exists() else []


def test_nifti_and_dicom_give_the_same_answer(bundle, cohort, trained, tmp_path):
    series = read_ct(scan_folder(cohort / "P003"))
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ series.affine
    (tmp_path / "in").mkdir()
    nib.save(nib.Nifti1Image(series.volume().astype(np.int16), affine), tmp_path / "in" / "P003.nii.gz")
    by_dicom = bundle.infer(cohort / "P003", trained, tmp_path / "a", prescription=78.0)
    by_nifti = bundle.infer(tmp_path / "in", trained, tmp_path / "b", prescription=78.0, export_dicom=True)
    doses = [nib.load(folder / "P003" / "P003_dose.nii.gz") for folder in (by_dicom, by_nifti)]
    assert np.allclose(doses[0].get_fdata(), doses[1].get_fdata(), atol=1e-3)
    assert {p.name for p in (by_nifti / "P003" / "dicom").iterdir()} >= {
        "CT",
        "RTPLAN.dcm",
        "RTDOSE.dcm",
        "RTSTRUCT.dcm",
    }


def test_a_patient_that_cannot_be_used_is_left_out_and_named(bundle, cohort, tmp_path, caplog):
    data = Path(shutil.copytree(cohort, tmp_path / "data"))
    for file in scan_folder(data / "P004").structure_sets:
        file.unlink()
    output = bundle.train(data, tmp_path / "run", fractions={"train": 0.5, "validation": 0.25, "test": 0.25})
    parts = pd.read_csv(output / "split.csv", keep_default_na=False).set_index("case")
    assert parts.loc["P004", "part"] == "unusable" and "no structures" in parts.loc["P004", "reason"]
