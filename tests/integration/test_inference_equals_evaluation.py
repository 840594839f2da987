# SPDX-License-Identifier: Apache-2.0
"""What inference writes for a case is what evaluation scored: voxel for voxel, probability for probability."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow
from PIL import Image

from ctan_networks.datasets.ham10000 import ham10000_cohort
from ctan_networks.datasets.openkbp import openkbp_cohort
from ctan_networks.datasets.prostate import prostate_cohort
from ctan_networks.datasets.stoic import stoic_cohort

COHORTS = {
    "openkbp_ctan": lambda folder: openkbp_cohort(folder, train=1, validation=1),
    "prostate_ctan": lambda folder: prostate_cohort(folder, patients=5),
    "ham10000_ctan": lambda folder: ham10000_cohort(folder, lesions=21),
    "stoic_ctan": lambda folder: stoic_cohort(folder, patients=8),
}
SMALL = {"network_def#channels": [4, 8, 8]}
BOTH_WAYS = [
    ("openkbp_ctan", None),
    ("openkbp_ctan", "given_ptv"),
    ("openkbp_ctan", "given_contours"),
    ("prostate_ctan", None),
    ("ham10000_ctan", None),
    ("stoic_ctan", None),
]


@pytest.mark.parametrize(("name", "overlay"), BOTH_WAYS)
def test_a_case_is_predicted_as_it_was_scored(bundle_copy, tmp_path, name, overlay):
    bundle = bundle_copy(name, SMALL, {})
    data = COHORTS[name](tmp_path / "data")
    settings = {"dataset_dir": str(data), "output_dir": str(tmp_path / "run")}
    files = ("train", "evaluate", *([overlay] if overlay else []))
    places = {"cache_dir": str(tmp_path / "cache"), "checkpoint": str(tmp_path / "model.pt"), "num_workers": 0}
    workflow = bundle.workflow(files, "train", **settings, **places)
    network = workflow.parser.get_parsed_content("average_network")
    torch.save(network.state_dict(), tmp_path / "model.pt")
    evaluator = workflow.parser.get_parsed_content("validate#evaluator")
    scored: dict[str, dict[str, np.ndarray]] = {}

    @evaluator.on(Events.ITERATION_COMPLETED)
    def keep(engine):
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            found = {key: value for key, value in output.items() if str(key).startswith("predicted_")}
            scored[item["case"]] = {key: torch.as_tensor(value).cpu().numpy() for key, value in found.items()}

    evaluator.run()
    assert scored
    files = ("inference", *([f"{overlay}_inference"] if overlay else []))
    case = next(iter(scored))
    one = {"prostate_ctan": Path(data) / case, "stoic_ctan": Path(data) / "data" / "mha" / f"{case}.mha"}
    places = {
        "dataset_dir": str(one.get(name, data)),
        "output_dir": str(tmp_path / "out"),
        "checkpoint": str(tmp_path / "model.pt"),
    }
    bundle.workflow(files, "infer", **places).run()
    scored = {case: scored[case]} if name in one else scored
    for case, expected in scored.items():
        for key, value in expected.items():
            _compare(tmp_path / "out", case, key.removeprefix("predicted_"), value, name)


def _compare(folder: Path, case: str, task: str, expected: np.ndarray, name: str) -> None:
    if task == "dose":
        written = nib.load(folder / case / f"{case}_dose.nii.gz").get_fdata(dtype=np.float32)
        assert expected.max() > 0
        np.testing.assert_array_equal(written, expected[0])
    elif task == "segmentation" and name == "ham10000_ctan":
        written = np.asarray(Image.open(folder / f"{case}_segmentation.png")).T
        np.testing.assert_array_equal(written > 0, expected[0] > 0)
    elif task == "segmentation":
        written = nib.load(folder / case / f"{case}_structures.nii.gz").get_fdata()
        np.testing.assert_array_equal(written, np.moveaxis(expected, 0, -1))
    else:
        (file,) = folder.rglob(f"{case}_result.json")
        probabilities = json.loads(file.read_text())[task]["probabilities"]
        # Written with four decimals.
        np.testing.assert_allclose(list(probabilities.values()), expected, atol=5.1e-5)


@pytest.mark.parametrize("name", sorted(COHORTS))
def test_the_shared_steps_are_the_same_in_both_configurations(bundles, name):
    train, inference = (
        json.loads((bundles / name / "configs" / f"{file}.json").read_text()) for file in ("train", "inference")
    )
    for block in ("spacing", "scale_intensity", "normalize_intensity", "image_transforms", "network_transforms"):
        assert train.get(block) == inference.get(block), block
    assert train["output_transforms"] == inference["output_transforms"]


@pytest.mark.parametrize("overlay", ["given_ptv", "given_contours"])
def test_overlays_add_the_same_steps_to_both(bundles, overlay):
    folder = bundles / "openkbp_ctan" / "configs"
    train, inference = (json.loads((folder / f"{overlay}{end}.json").read_text()) for end in ("", "_inference"))
    for block in ("+network_transforms", "target_doses", "given", "given_organs", "input_channels", "possible_dose"):
        assert train[block] == inference[block], block


@pytest.mark.realdata
@pytest.mark.parametrize("overlay", [None, "given_ptv", "given_contours"])
def test_submissions_of_real_patients_score_what_evaluation_says(bundles, real_data, tmp_path, overlay):
    folder = bundles / "openkbp_ctan"
    data = str(real_data / "provided-data")
    weights = str(folder / "models" / (overlay or "") / "model.pt")
    added = [overlay] if overlay else []
    places = {"dataset_dir": data, "output_dir": str(tmp_path), "cache_dir": str(tmp_path / "cache"), "num_workers": 0}

    def scores(names: list[str], **settings: object) -> dict[str, float]:
        files = [str(folder / "configs" / f"{name}.json") for name in names]
        evaluation = {"evaluation_dir": str(tmp_path / "-".join(names)), **places, **settings}
        workflow = ConfigWorkflow(files, workflow_type="train", logging_file=False, **evaluation)
        workflow.initialize()
        workflow.run()
        summary = json.loads((tmp_path / "-".join(names) / "summary.json").read_text())
        return {score["name"]: score["value"] for score in summary["scores"]}

    scored = scores(["train", "evaluate", *added], checkpoint=weights)
    files = ["inference", *(f"{name}_inference" for name in added)]
    inference = ConfigWorkflow(
        [str(folder / "configs" / f"{name}.json") for name in files],
        workflow_type="infer",
        logging_file=False,
        dataset_dir=data,
        split="validation",
        checkpoint=weights,
        output_dir=str(tmp_path / "out"),
    )
    inference.initialize()
    inference.run()
    stored = scores(["train", "evaluate"], predictions=str(tmp_path / "out" / "submission"))
    for name in ("dose_score", "dvh_score"):
        assert stored[name] == pytest.approx(scored[name], abs=0.01)
