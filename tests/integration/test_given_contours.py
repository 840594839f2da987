# SPDX-License-Identifier: Apache-2.0
"""OpenKBP with given targets, or all contours: the overlays from training to inference, on a small phantom cohort."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from ctan_networks.datasets.openkbp.phantoms import openkbp_cohort
from ctan_networks.datasets.openkbp.reader import OpenKBPReader

ORGANS = {"Brainstem", "SpinalCord", "RightParotid", "LeftParotid", "Esophagus", "Larynx", "Mandible"}
TARGETS = {"PTV56", "PTV63", "PTV70"}
WINDOW = {"window": [48, 48, 48]}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> str:
    return openkbp_cohort(tmp_path_factory.mktemp("cohort"), train=2, validation=2)


@pytest.fixture(scope="module")
def bundle(bundle_copy):
    return bundle_copy("openkbp_ctan", small={"network_def#channels": [4, 8, 12]}, quick={"crop_size": [48, 48, 48]})


def run(bundle, names: tuple[str, ...], kind: str, **options: object) -> None:
    bundle.workflow(names, kind, **options).run()


def infer(bundle, overlay: str, trained: Path, data: object, output: Path, **options: object) -> Path:
    settings = {"dataset_dir": str(data), "output_dir": str(output), "checkpoint": str(trained / "model.pt"), **WINDOW}
    run(bundle, ("inference", f"{overlay}_inference"), "infer", **(settings | options))
    return output


@pytest.fixture(scope="module", params=["given_ptv", "given_contours"])
def trained(request, bundle, cohort, tmp_path_factory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp(request.param) / "run"
    options = bundle.quick | {
        "dataset_dir": cohort,
        "output_dir": str(folder),
        "cache_dir": str(folder.parent / "cache"),
    }
    run(bundle, ("train", request.param), "train", **options)
    run(bundle, ("train", "evaluate", request.param), "train", **options)
    return request.param, folder


def test_what_is_given_is_not_scored(trained):
    overlay, folder = trained
    described = json.loads((folder / "model.json").read_text())
    summary = json.loads((folder / "evaluation_validation" / "summary.json").read_text())
    assert set(described["given"]) == (TARGETS if overlay == "given_ptv" else TARGETS | ORGANS)
    assert {row["structure"] for row in summary.get("dice", [])} <= (ORGANS if overlay == "given_ptv" else set())
    assert described["tasks"] == summary["tasks"] == ["segmentation", "dose"][overlay == "given_contours" :]
    # The dose is scored in the physician's contours all the same.
    rows = pd.read_csv(folder / "evaluation_validation" / "metrics.csv")
    assert TARGETS & set(rows[rows["metric"] == "D_95"].dropna(subset="value")["structure"])
    names = set(pd.read_csv(folder / "history.csv")["name"])
    assert ("dice" in names) == (overlay == "given_ptv") and "dvh_score" in names


def test_inference_keeps_the_drawn_contours_whatever_form_they_come_in(bundle, cohort, trained, tmp_path):
    overlay, folder = trained
    patient = Path(cohort) / "validation-pats" / "pt_201"
    out = infer(bundle, overlay, folder, patient, tmp_path / "csv", export_dicom=True, uncertainty=True)
    written = nib.load(out / "pt_201" / "pt_201_structures.nii.gz").get_fdata()
    reader = OpenKBPReader()
    given = [name for name in described_structures(bundle, overlay) if overlay == "given_contours" or name in TARGETS]
    for name in given:
        file = patient / f"{name}.csv"
        drawn = reader.get_data(file)[0] if file.is_file() else np.zeros(written.shape[:3])
        assert np.array_equal(written[..., described_structures(bundle, overlay).index(name)], drawn), name
    dose = nib.load(out / "pt_201" / "pt_201_dose.nii.gz").get_fdata()
    spread = nib.load(out / "pt_201" / "pt_201_dose_uncertainty.nii.gz").get_fdata()
    assert spread.shape == dose.shape and spread.max() > 0
    assert (out / "pt_201" / "pt_201_structures_uncertainty.nii.gz").is_file() == (overlay == "given_ptv")
    # What was written as DICOM is what a clinic would give: CT and RTSTRUCT. A folder named by its patient's id is
    # given another name.
    clinic = tmp_path / "clinic" / "anyone"
    shutil.copytree(out / "pt_201" / "dicom", clinic)
    if overlay == "given_contours":
        again = infer(bundle, overlay, folder, clinic, tmp_path / "dicom")
        second = nib.load(again / "anyone" / "anyone_dose.nii.gz")
        first = json.loads((out / "pt_201" / "pt_201_result.json").read_text())["dose"]
        other = json.loads((again / "anyone" / "anyone_result.json").read_text())["dose"]
        assert second.shape == dose.shape
        # The means over test-time augmentation differ from one pass; volumes do not.
        assert {n: row["volume_cc"] for n, row in first["structures"].items()} == pytest.approx(
            {n: row["volume_cc"] for n, row in other["structures"].items()}, rel=1e-3
        )


def described_structures(bundle, overlay: str) -> list[str]:
    config = json.loads((bundle.folder / "configs" / f"{overlay}_inference.json").read_text())
    return [*config["organs"], *config["target_doses"]]


def test_another_prescription_scales_the_dose(bundle, cohort, trained, tmp_path):
    overlay, folder = trained
    patient = Path(cohort) / "validation-pats" / "pt_202"
    doses = {}
    for name, scale in (("usual", 1.0), ("lower", 60 / 70)):
        given = {target: gray * scale for target, gray in (("PTV56", 56.0), ("PTV63", 63.0), ("PTV70", 70.0))}
        out = infer(bundle, overlay, folder, patient, tmp_path / name, target_doses=given)
        doses[name] = nib.load(out / "pt_202" / "pt_202_dose.nii.gz").get_fdata()
    np.testing.assert_allclose(doses["lower"], doses["usual"] * 60 / 70, atol=1e-3)


def test_a_patient_without_a_target_is_named_and_skipped(bundle, cohort, trained, tmp_path, caplog):
    overlay, folder = trained
    copied = tmp_path / "patients"
    shutil.copytree(Path(cohort) / "validation-pats", copied)
    for target in TARGETS:
        (copied / "pt_201" / f"{target}.csv").unlink(missing_ok=True)
    out = infer(bundle, overlay, folder, copied, tmp_path / "out")
    assert "case pt_201: no target: there is no mask of PTV56, PTV63, PTV70" in caplog.text
    assert (out / "pt_202" / "pt_202_dose.nii.gz").is_file() and not (out / "pt_201").exists()


def test_without_its_mask_dose_is_possible_in_the_body(bundle, cohort, trained, tmp_path):
    """The mask is an input: another one, here the body that is found in the CT, gives another dose."""
    overlay, folder = trained
    patient = Path(cohort) / "validation-pats" / "pt_202"
    bare = tmp_path / "bare" / "pt_202"
    shutil.copytree(patient, bare)
    (bare / "possible_dose_mask.csv").unlink()
    doses = []
    for name, data in (("with", patient), ("without", bare)):
        out = infer(bundle, overlay, folder, data, tmp_path / name)
        doses.append(nib.load(out / "pt_202" / "pt_202_dose.nii.gz").get_fdata())
    assert doses[0].shape == doses[1].shape and doses[1].max() > 0
    assert not np.allclose(doses[0], doses[1])
