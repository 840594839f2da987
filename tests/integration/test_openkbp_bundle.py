# SPDX-License-Identifier: Apache-2.0
"""The OpenKBP bundle as its users run it, on a small phantom cohort."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

from ctan_networks.datasets.openkbp.files import GRID, read_sparse_csv
from ctan_networks.datasets.openkbp.phantoms import openkbp_cohort
from ctan_networks.datasets.openkbp.reader import OpenKBPReader

NAME = "openkbp_ctan"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> str:
    return openkbp_cohort(tmp_path_factory.mktemp("cohort"), train=3, validation=2)


@pytest.fixture(scope="module")
def bundle(bundle_copy):
    return bundle_copy(NAME, small={"network_def#channels": [4, 8, 12]}, quick={"crop_size": [48, 48, 48]})


@pytest.fixture(scope="module")
def trained(bundle, cohort, tmp_path_factory) -> Path:
    return bundle.train(cohort, tmp_path_factory.mktemp("run") / "ctan", epochs=2)


def infer(bundle, data: object, trained: Path, output: Path) -> Path:
    return bundle.infer(data, trained, output, window=[48, 48, 48])


def test_training_leaves_weights_history_and_says_phantom(trained):
    described = json.loads((trained / "model.json").read_text())
    assert described["phantom"] is True and described["architecture"] == "ctan" and described["cases"] == 3
    weights = torch.load(trained / "model.pt", weights_only=True)
    assert all(isinstance(v, torch.Tensor) and v.device.type == "cpu" for v in weights.values())
    names = set(pd.read_csv(trained / "history.csv")["name"])
    assert {"loss_segmentation", "loss_dose", "dice", "dose_score", "dvh_score", "score"} <= names
    assert list((trained / "tensorboard").glob("events*"))


@pytest.mark.parametrize(
    "weighting", ["dwa", *(pytest.param(w, marks=pytest.mark.slow) for w in ("equal", "uncertainty"))]
)
def test_a_resumed_training_ends_with_the_same_weights(bundle, cohort, tmp_path, weighting):
    """Four epochs in one go, and two and two: DWA's weights only start to move in the third."""
    options = {"weighting": weighting, "val_interval": 2}
    # The learning rate's schedule is part of the run, so both are made for four epochs.
    whole = bundle.train(cohort, tmp_path / "whole", epochs=4, **options)
    parts = tmp_path / "parts"
    schedule = {"total_steps": 12}
    bundle.train(cohort, parts, epochs=2, **options, **schedule)
    bundle.train(cohort, parts, epochs=4, resume=True, **options, **schedule)
    states = [torch.load(folder / "last.pt", weights_only=True)["objects"] for folder in (whole, parts)]
    for name in ("network", "average_network", "loss"):
        for key, value in states[0][name].items():
            assert torch.equal(value, states[1][name][key]), (name, key)


@pytest.mark.parametrize(
    ("architecture", "task", "metrics"),
    [
        ("mtan", None, {"dice", "dose_score"}),
        ("hps", None, {"dice", "dose_score"}),
        ("stl", None, {"dice"}),
        ("stl", "dose", {"dose_score", "dvh_score"}),
    ],
)
def test_architecture_is_swapped_by_a_word(bundle, cohort, tmp_path, architecture, task, metrics):
    output = bundle.train(cohort, tmp_path / "run", architecture=architecture, task=task)
    names = set(pd.read_csv(output / "history.csv")["name"])
    assert metrics <= names
    assert ("dice" in names) == ("dice" in metrics) and ("dose_score" in names) == ("dose_score" in metrics)
    summary = bundle.evaluate(cohort, output, architecture=architecture, task=task)
    assert summary["tasks"] == (["segmentation", "dose"] if architecture != "stl" else [task or "segmentation"])


def test_evaluation_writes_numbers_that_can_be_made_again(bundle, cohort, trained, tmp_path):
    summary = bundle.evaluate(cohort, trained, evaluation_dir=str(tmp_path / "evaluation"))
    assert summary["phantom"] is True and summary["cases"] == 2
    rows = pd.read_csv(tmp_path / "evaluation" / "metrics.csv")
    out = infer(bundle, Path(cohort) / "validation-pats", trained, tmp_path / "out")
    reader = OpenKBPReader()
    for case in ("pt_201", "pt_202"):
        folder = Path(cohort) / "validation-pats" / case
        mask = read_sparse_csv(folder / "possible_dose_mask.csv", values=False).reshape(GRID) > 0
        reference = read_sparse_csv(folder / "dose.csv", values=True).reshape(GRID)
        predicted = nib.load(out / case / f"{case}_dose.nii.gz").get_fdata()
        total = np.abs(reference - predicted * mask).sum() / mask.sum()
        scored = float(rows.query(f"case == '{case}' and metric == 'dose_score'")["value"].iloc[0])
        # Inference zeroes dose outside the body, evaluation outside the mask: they may differ at the skin.
        assert scored == pytest.approx(total, rel=0.05)
        array, _ = reader.get_data(reader.read(str(folder / "Brainstem.csv")))
        masks = nib.load(out / case / f"{case}_structures.nii.gz").get_fdata()[..., 0]
        both = 2 * (array * masks).sum() / max(array.sum() + masks.sum(), 1)
        dice = float(rows.query(f"case == '{case}' and structure == 'Brainstem' and metric == 'dice'")["value"].iloc[0])
        assert dice == pytest.approx(both, abs=1e-6)


def test_stored_predictions_are_scored_without_a_network(bundle, cohort, tmp_path):
    """The reference itself scores 0; the reference halved scores half of the mean dose."""
    predictions = tmp_path / "predictions"
    predictions.mkdir()
    wanted = []
    for case, factor in (("pt_201", 1.0), ("pt_202", 0.5)):
        folder = Path(cohort) / "validation-pats" / case
        table = pd.read_csv(folder / "dose.csv", index_col=0)
        (table * factor).to_csv(predictions / f"{case}.csv")
        mask = pd.read_csv(folder / "possible_dose_mask.csv", index_col=0)
        wanted.append((1 - factor) * table["data"].sum() / len(mask))
    summary = bundle.evaluate(
        cohort, tmp_path / "none", predictions=str(predictions), evaluation_dir=str(tmp_path / "evaluation")
    )
    scores = {score["name"]: score["value"] for score in summary["scores"]}
    assert scores["dose_score"] == pytest.approx(np.mean(wanted), rel=1e-5)
    assert summary["tasks"] == ["dose"]


def test_inference_takes_csv_and_nifti_alike_and_keeps_the_grid(bundle, cohort, trained, tmp_path):
    # Without the possible-dose mask, which a NIfTI has not: it limits the dose.
    patient = tmp_path / "unmasked" / "pt_201"
    left_out = shutil.ignore_patterns("possible_dose_mask.csv")
    shutil.copytree(Path(cohort) / "validation-pats" / "pt_201", patient, ignore=left_out)
    reader = OpenKBPReader()
    hu, meta = reader.get_data(reader.read(str(patient / "ct.csv")))
    image = nib.as_closest_canonical(nib.Nifti1Image(hu.astype(np.float32), meta["affine"]))
    nib.save(image, tmp_path / "pt_201.nii.gz")
    from_csv = infer(bundle, patient, trained, tmp_path / "csv") / "pt_201"
    from_nifti = infer(bundle, tmp_path / "pt_201.nii.gz", trained, tmp_path / "nifti") / "pt_201"
    for postfix in ("dose", "structures", "labels"):
        a = nib.load(from_csv / f"pt_201_{postfix}.nii.gz")
        b = nib.load(from_nifti / f"pt_201_{postfix}.nii.gz")
        np.testing.assert_allclose(a.affine, meta["affine"], atol=1e-4)
        np.testing.assert_allclose(b.affine, image.affine, atol=1e-4)
        difference = np.abs(nib.as_closest_canonical(a).get_fdata() - b.get_fdata())
        assert difference.max() < (0.01 if postfix == "dose" else 1) and (difference > 0.01).mean() < 1e-5
    submitted = read_sparse_csv(tmp_path / "csv" / "submission" / "pt_201.csv", values=True).reshape(GRID)
    np.testing.assert_allclose(submitted, nib.load(from_csv / "pt_201_dose.nii.gz").get_fdata(), atol=1e-3)
    assert not (tmp_path / "nifti" / "submission").exists()


def test_inference_of_a_fine_ct_is_on_its_own_grid(bundle, cohort, trained, tmp_path):
    """A clinic's CT has smaller voxels than OpenKBP's; results come back on them."""
    reader = OpenKBPReader()
    hu, meta = reader.get_data(reader.read(str(Path(cohort) / "validation-pats" / "pt_201" / "ct.csv")))
    body = np.argwhere(hu > -400)
    low, high = body.min(0), body.max(0) + 1
    crop = hu[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    affine = meta["affine"].copy()
    affine[:3, :2] /= 2
    fine = np.repeat(np.repeat(crop, 2, 0), 2, 1)
    nib.save(nib.Nifti1Image(fine.astype(np.float32), affine), tmp_path / "clinic.nii.gz")
    out = infer(bundle, tmp_path, trained, tmp_path / "out") / "clinic"
    dose = nib.load(out / "clinic_dose.nii.gz")
    assert dose.shape == fine.shape
    np.testing.assert_allclose(dose.affine, affine, atol=1e-4)
    assert nib.load(out / "clinic_structures.nii.gz").shape == (*fine.shape, 10)


def test_broken_cases_are_named_and_the_others_inferred(bundle, cohort, trained, tmp_path, caplog):
    split = tmp_path / "data" / "validation-pats"
    shutil.copytree(Path(cohort) / "validation-pats", split)
    (split / "pt_201" / "ct.csv").write_text(",data\n5,12.0\n77,abc\n")
    out = infer(bundle, tmp_path / "data", trained, tmp_path / "out")
    assert (out / "pt_202" / "pt_202_dose.nii.gz").is_file() and not (out / "pt_201").exists()
    assert "pt_201" in caplog.text and "line 3" in caplog.text and "skipped 1 of 2" in caplog.text


def test_inference_on_phantoms_says_so(bundle, cohort, trained, tmp_path, caplog):
    infer(bundle, Path(cohort) / "validation-pats" / "pt_201", trained, tmp_path / "out")
    assert "PHANTOM DATA" in caplog.text


@pytest.mark.parametrize("fault", ["missing", "empty", "split", "patient", "channels", "architecture"])
def test_wrong_use_ends_with_one_clear_line(bundle, cohort, tmp_path, command, fault):
    data, extra = tmp_path / "data", ["--epochs", "1", "--num_workers", "0", "--output_dir", str(tmp_path / "run")]
    extra += ["--cache_dir", str(tmp_path / "cache")]
    if fault == "empty":
        data.mkdir()
    elif fault == "split":
        (data / "validation-pats" / "pt_201").mkdir(parents=True)
    elif fault != "missing":
        shutil.copytree(cohort, data)
    if fault == "patient":
        (data / "train-pats" / "pt_2" / "dose.csv").write_text(",data\n12,1.0\n9999999,2.0\n")
    elif fault == "channels":
        extra += ["--network_def#channels", "[4,4,4,4,4,4,4]", "--crop_size", "[32,32,32]"]
    elif fault == "architecture":
        extra += ["--architecture", "unet"]
    train_config = bundle.configs("train")[0]
    done = command("run", "--config_file", train_config, "--dataset_dir", str(data), *extra)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ERROR: "), done.stderr[-2000:]
    wanted = {
        "missing": str(data),
        "empty": str(data),
        "split": "train-pats",
        "patient": "pt_2",
        "channels": "too small",
        "architecture": "ctan, mtan, hps, stl",
    }
    assert wanted[fault] in last
    if fault == "patient":
        assert "dose.csv" in last and "line 3" in last


@pytest.mark.parametrize("where", ["root", "bundle", "elsewhere"])
def test_commands_find_the_bundle_from_anywhere(bundle, cohort, trained, tmp_path, command, where):
    folder = bundle.folder
    cwd = {"root": folder.parents[1], "bundle": folder, "elsewhere": tmp_path}[where]
    config = Path(bundle.configs("inference")[0])
    given = config if where == "elsewhere" else config.relative_to(cwd)
    (folder / "models").mkdir(exist_ok=True)
    shutil.copy(trained / "model.pt", folder / "models" / "model.pt")
    small = ["--network_def#channels", "[4,8,12]", "--window", "[48,48,48]"]
    patient = str(Path(cohort) / "validation-pats" / "pt_201")
    done = command("run", "--config_file", str(given), "--dataset_dir", patient, *small, cwd=cwd)
    assert done.returncode == 0, done.stderr[-2000:]
    written = folder / "eval" / "pt_201" / "pt_201_dose.nii.gz"
    assert written.is_file()
    shutil.rmtree(folder / "eval")


def test_metadata_and_configurations_agree(bundles):
    configs = bundles / NAME / "configs"
    metadata, inference, train = (
        json.loads((configs / f"{n}.json").read_text()) for n in ("metadata", "inference", "train")
    )
    labels = list(metadata["network_data_format"]["outputs"]["pred"]["channel_def"].values())
    assert labels == ["background", *inference["structures"]]
    assert inference["structures"] == list(train["structures"])
