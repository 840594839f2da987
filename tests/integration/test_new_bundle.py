# SPDX-License-Identifier: Apache-2.0
"""New bundles as their users run them: on phantoms and on lists of their own."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigWorkflow
from PIL import Image

from ctan_networks.datasets.table.phantoms import task_cohort
from ctan_networks.errors import ConfigError, reason_of
from ctan_networks.tools.authoring.bundle import write_bundle
from ctan_networks.tools.authoring.plan import Plan
from ctan_networks.tools.authoring.tasks import parse_tasks

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"network_def#channels": [8, 16, 16], "network_def#norm": ["GROUP", {"num_groups": 2}]}
QUICK = {"epochs": 1, "val_interval": 1, "num_workers": 0, "warmup_steps": 2}
KINDS = {
    "volume": (3, 1, "seg:segmentation:liver|left lung,heat:regression:1,grade:classification:4"),
    "picture": (2, 3, "seg:segmentation:1,heat:regression:2,grade:classification:low|mid|high"),
    "graded": (3, 2, "grade:classification:2,stage:classification:3"),
    "maps": (3, 1, "flow:regression:3"),
}


class Made:
    """A new bundle, its small cohort and its workflows with settings that make them quick."""

    def __init__(self, root: Path, kind: str) -> None:
        dims, channels, text = KINDS[kind]
        self.plan = Plan(kind, kind.capitalize(), dims, channels, parse_tasks(text))
        self.folder = write_bundle(self.plan, root / kind)
        self.data = task_cohort(root / "data", self.plan.task_list, dims, channels, self.plan.classes, cases=10)
        self.window = {"crop_size" if self.plan.sliding else "image_size": [24] * dims}

    def configs(self, *names: str) -> list[str]:
        return [str(self.folder / "configs" / f"{name}.json") for name in names]

    def run(self, names: tuple[str, ...], kind: str, **given) -> None:
        workflow = ConfigWorkflow(self.configs(*names), workflow_type=kind, logging_file=False, **SMALL, **given)
        workflow.initialize()
        assert workflow.check_properties() == []
        workflow.run()

    def train(self, output: Path, **given) -> Path:
        places = {"dataset_dir": self.data, "output_dir": str(output), "cache_dir": str(output.parent / "cache")}
        self.run(("train",), "train", **{**QUICK, **self.window, **places, **given})
        return output

    def evaluate(self, output: Path, **given) -> dict:
        places = {"dataset_dir": self.data, "output_dir": str(output), "cache_dir": str(output.parent / "cache")}
        self.run(("train", "evaluate"), "train", **{**QUICK, **places, **given})
        folder = output / f"evaluation_{given.get('split', 'validation')}"
        return json.loads((folder / "summary.json").read_text())

    def infer(self, trained: Path, data: object, output: Path, **given) -> Path:
        options = {"dataset_dir": str(data), "output_dir": str(output), "checkpoint": str(trained / "model.pt")}
        self.run(("inference",), "infer", **options, **given)
        return output


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    bundles: dict[str, tuple[Made, Path]] = {}

    def make(kind: str) -> tuple[Made, Path]:
        if kind not in bundles:
            root = tmp_path_factory.mktemp(kind)
            bundle = Made(root, kind)
            bundles[kind] = bundle, bundle.train(root / "run" / "ctan")
        return bundles[kind]

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_agrees_with_what_inference_writes(made, kind, tmp_path):
    bundle, trained = made(kind)
    described = json.loads((trained / "model.json").read_text())
    assert described["phantom"] is True and described["tasks"] == list(bundle.plan.task_list)
    summary = bundle.evaluate(trained)
    assert summary["phantom"] is True and summary["cases"] == 2
    # Evaluation takes the size that training took.
    assert next(iter(bundle.window.values())) in summary["details"].values()
    out = bundle.infer(trained, bundle.data, tmp_path / "out")
    cases = pd.read_csv(trained / "evaluation_validation" / "cases.csv").set_index("case")
    table = pd.read_csv(bundle.data).set_index("case")
    for case in cases.index:
        for task in bundle.plan.dense:
            label = Path(bundle.data).parent / table.loc[case, task.name]
            predicted = read(out, case, task)
            reference = read_file(label)
            if task.kind == "regression":
                reference = reference.reshape(predicted.shape)
                assert cases.loc[case, f"{task.name}_mae"] == pytest.approx(
                    np.abs(predicted - reference).mean(), rel=1e-3
                )
                continue
            for k, name in enumerate(task.names):
                inside = predicted[..., k] > 0
                wanted = reference == k + 1 if len(task.names) > 1 else reference > 0
                size = inside.sum() + wanted.sum()
                dice = 2 * (inside & wanted).sum() / size if size else np.nan
                column = f"{task.name}_{name.replace(' ', '_')}_dice"
                assert cases.loc[case, column] == pytest.approx(dice, nan_ok=True, abs=1e-3)
    if bundle.plan.classifications:
        scored = pd.read_csv(trained / "evaluation_validation" / "predictions.csv").set_index("case")
        found = pd.read_csv(out / "probabilities.csv").set_index("case").loc[scored.index]
        columns = [c for c in scored if c.startswith("p_")]
        np.testing.assert_allclose(found[columns], scored[columns], atol=1e-4)


def read(out: Path, case: str, task) -> np.ndarray:
    """What inference wrote, channels last."""
    start = out / case / f"{case}_{task.name}"
    for end in (["_structures.nii.gz"] if len(task.names) > 1 else []) + [".nii.gz", ".npy", ".png"]:
        file = start.with_name(start.name + end)
        if file.is_file():
            values = read_file(file)
            return values[..., None] if values.ndim < (4 if end.endswith("gz") else 3) else values
    raise AssertionError(f"nothing written for {start}")


def read_file(file: Path) -> np.ndarray:
    if file.name.endswith(".nii.gz"):
        return nib.load(file).get_fdata()
    return np.load(file) if file.suffix == ".npy" else np.asarray(Image.open(file))


@pytest.mark.parametrize(("architecture", "task"), [("mtan", None), ("stl", "heat"), ("stl", "grade")])
def test_the_architecture_is_swapped_by_a_word(made, tmp_path, architecture, task):
    bundle, _ = made("volume")
    given = {"architecture": architecture, "task": task}
    output = bundle.train(tmp_path / "run", **given)
    summary = bundle.evaluate(output, **given, split="test")
    assert summary["tasks"] == ([task] if task else ["seg", "heat", "grade"]) and summary["scores"]
    image = sorted((Path(bundle.data).parent / "images").iterdir())[0]
    out = bundle.infer(output, image, tmp_path / "out", **given)
    assert any(out.rglob("*"))


def test_a_bundle_on_a_backbone(tmp_path):
    """Sizes follow its stride; evaluation and inference build what was trained."""
    tasks = parse_tasks("seg:segmentation:1,grade:classification:2")
    plan = Plan("backbone", "On a backbone", 2, 3, tasks, encoder="efficientnet-lite0")
    bundle = Made(tmp_path, "picture")
    bundle.plan, bundle.folder = plan, write_bundle(plan, tmp_path / "backbone")
    bundle.data = task_cohort(tmp_path / "cohort", plan.task_list, 2, 3, plan.classes, cases=10)
    assert plan.stride == 32
    metadata = json.loads((bundle.folder / "configs" / "metadata.json").read_text())
    assert metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] == ["64*n", "64*n"]
    assert Plan("volumes", "", 3, 1, tasks, encoder="resnet10").stride == 32
    trained = bundle.train(tmp_path / "run", image_size=[64, 64], freeze_encoder=2, drop_path=0.1)
    described = json.loads((trained / "model.json").read_text())
    assert described["encoder"] == "efficientnet-lite0"
    assert bundle.evaluate(trained)["details"]["encoder"] == "efficientnet-lite0"
    assert any(bundle.infer(trained, bundle.data, tmp_path / "out").rglob("*.png"))
    with pytest.raises(ConfigError, match="no encoder 'resnet9'"):
        Plan("volumes", "", 3, 1, tasks, encoder="resnet9")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_table_of_a_few_cases_without_splits(made, tmp_path, caplog, count):
    bundle, _ = made("graded")
    table = pd.read_csv(bundle.data).drop(columns=["split", "group"]).head(count)
    folder = Path(bundle.data).parent
    table["image"] = [str(folder / name) for name in table["image"]]
    table.to_csv(tmp_path / "cases.csv", index=False)
    given = {"dataset_dir": str(tmp_path / "cases.csv")}
    if count == 1:
        with pytest.raises(RuntimeError) as caught:
            bundle.train(tmp_path / "run", **given)
        assert reason_of(caught.value).startswith("the split 'validation' is empty (train has 1")
        return
    bundle.train(tmp_path / "run", **given)
    assert bundle.evaluate(tmp_path / "run", **given)["details"]["cases"] == 1
    assert ("the split 'test' is empty" in caplog.text) == (count == 2)


def test_a_list_of_ones_own_is_no_phantom_and_is_divided(made, tmp_path):
    """Volumes of one's own: other axes and voxel sizes, several cases a patient, no split, a label that is missing."""
    bundle, _ = made("volume")
    rng = np.random.default_rng(0)
    affine = np.diag([-2.0, -2.0, 3.0, 1.0])
    rows = []
    for k in range(12):
        shape = (26, 28, 20 + k)
        seg = np.zeros(shape, np.uint8)
        seg[4:12, 5:14, 6:15] = 1 + k % 2
        for name, values in (("image", rng.normal(seg, 0.3)), ("seg", seg), ("heat", seg / 2)):
            nib.save(nib.Nifti1Image(np.asarray(values, np.float32), affine), tmp_path / f"{name}{k}.nii.gz")
        rows.append(
            [f"c{k}", f"image{k}.nii.gz", f"seg{k}.nii.gz", f"heat{k}.nii.gz" if k else "", k % 4, f"P{k // 2}"]
        )
    with open(tmp_path / "list.csv", "w", newline="") as file:
        csv.writer(file).writerows([["case", "image", "seg", "heat", "grade", "group"], *rows])
    given = {"dataset_dir": str(tmp_path / "list.csv"), "pixdim": [2.5, 2.5, 2.5], "flip_probability": 0.0}
    output = bundle.train(tmp_path / "run" / "own", **given, recipe_name="cpu", batch_size=2)
    described = json.loads((output / "model.json").read_text())
    assert described["phantom"] is False and described["pixdim"] == [2.5, 2.5, 2.5]
    parts = pd.read_csv(output / "split.csv")
    assert parts.groupby("group")["part"].nunique().max() == 1 and set(parts["part"]) == {"train", "validation", "test"}
    summary = bundle.evaluate(output, dataset_dir=given["dataset_dir"], recipe_name="cpu")
    assert summary["phantom"] is False and summary["details"]["pixdim"] == [2.5, 2.5, 2.5]
    out = bundle.infer(output, tmp_path / "image3.nii.gz", tmp_path / "out")
    written = nib.load(out / "image3" / "image3_heat.nii.gz")
    assert written.shape == (26, 28, 23)
    np.testing.assert_allclose(written.affine, affine)


@pytest.mark.parametrize("kind", ["volume", "picture"])
def test_zoo_verifications_pass(made, kind, tmp_path, command):
    bundle, trained = made(kind)
    root = bundle.folder.parent
    options = ("--net_id", "network_def", "--meta_file", f"{kind}/configs/metadata.json")
    config = ("--config_file", f"{kind}/configs/inference.json")
    shape = command("verify_net_in_out", *options, *config, cwd=root)
    assert shape.returncode == 0, shape.stderr[-2000:]
    small = ("--network_def#channels", "[8,16,16]", "--network_def#norm", "['GROUP',{'num_groups':2}]")
    weights = ("--ckpt_file", str(trained / "model.pt"), "--filepath", str(tmp_path / "model.ts"))
    script = command("ckpt_export", *options, *config, *weights, *small, cwd=root)
    assert script.returncode == 0 and (tmp_path / "model.ts").is_file(), script.stderr[-2000:]


def test_published_weights_are_taken_where_no_others_are_asked_for(tmp_path):
    bundle = Made(tmp_path, "picture")
    image = sorted((Path(bundle.data).parent / "images").iterdir())[0]
    given = {"dataset_dir": str(image), "output_dir": str(tmp_path / "out")}
    with pytest.raises(RuntimeError) as error:
        bundle.run(("inference",), "infer", **given)
    assert "no weights: looked for" in "".join(traceback.format_exception(error.value))
    bundle.train(tmp_path / "run", publish=True)
    weights = [torch.load(p / "model.pt", weights_only=True) for p in (bundle.folder / "models", tmp_path / "run")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[1])
    bundle.run(("inference",), "infer", **given)
    result = json.loads((tmp_path / "out" / image.stem / f"{image.stem}_result.json").read_text())
    assert result["weights"] == "phantom" and set(result["grade"]["probabilities"]) == {"low", "mid", "high"}


@pytest.mark.parametrize("kind", ["picture"])
def test_the_bundles_own_test_passes(made, kind):
    bundle, _ = made(kind)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(bundle.folder / "tests" / f"test_{kind}.py")],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0 and "OK" in done.stderr, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["volume", "picture"])
def test_the_phantoms_are_learnt(tmp_path, command, kind):
    """The three commands that new_bundle prints, as they are."""
    dims, channels, text = KINDS[kind]
    write_bundle(Plan(kind, kind, dims, channels, parse_tasks(text)), tmp_path / kind)
    train, evaluate, inference = (f"{kind}/configs/{name}.json" for name in ("train", "evaluate", "inference"))
    for files in (train, f"['{train}','{evaluate}']", inference):
        done = command("run", "--config_file", files, cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]
    summary = json.loads((tmp_path / kind / "runs/phantom_ctan/evaluation_validation/summary.json").read_text())
    scores = {score["name"]: score["value"] for score in summary["scores"]}
    # Of eight validation cases, by which balanced accuracy jumps more than AUC does.
    assert scores["seg_mean_dice"] > 0.45 and scores["grade_roc_auc"] > 0.65
