# SPDX-License-Identifier: Apache-2.0
"""Predictions come back to the grid of the image's file with the values that the network gave them.

Inverting the preprocessing must undo its spatial steps alone. From version 1.7 on MONAI can invert an intensity
normalisation as well, which would turn probabilities into grey values.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd

from ctan_networks.datasets.ham10000.phantoms import ham10000_cohort
from ctan_networks.datasets.openkbp.phantoms import openkbp_cohort
from ctan_networks.datasets.prostate.phantoms import prostate_cohort
from ctan_networks.datasets.table.phantoms import task_cohort
from ctan_networks.tools.authoring.bundle import write_bundle
from ctan_networks.tools.authoring.plan import Plan
from ctan_networks.tools.authoring.tasks import parse_tasks
from ctan_networks.transforms import InvertMasksd

# stoic_ctan predicts no image.
BUNDLES = {
    "ham10000_ctan": lambda folder: ham10000_cohort(folder, lesions=35),
    "openkbp_ctan": lambda folder: openkbp_cohort(folder, train=1, validation=1),
    "prostate_ctan": lambda folder: prostate_cohort(folder, patients=5),
}
OVERLAYS = ("given_ptv", "given_contours")
NEW = {
    "volume": (3, 1, "seg:segmentation:2,heat:regression:1"),
    "picture": (2, 3, "seg:segmentation:1,grade:classification:2"),
}
PROBABILITIES = torch.tensor([0.25, 0.75])


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    made: dict[str, str] = {}

    def make(name: str) -> str:
        if name not in made:
            made[name] = str(BUNDLES[name](tmp_path_factory.mktemp(name)))
        return made[name]

    return make


def inversions(transform: Any) -> Iterator[Invertd | InvertMasksd]:
    for step in transform.transforms:
        if isinstance(step, Compose):
            yield from inversions(step)
        elif isinstance(step, (Invertd, InvertMasksd)):
            yield step


def check(files: list[Path], dataset: str, postprocessing: str, **given: Any) -> None:
    parser = ConfigParser(ConfigParser.load_config_files([str(file) for file in files]))
    parser.update(given)
    cases = parser.get_parsed_content(dataset)
    image = next(iter(cases))["image"]
    steps = list(inversions(parser.get_parsed_content(postprocessing)))
    assert steps
    for step in steps:
        size = image.shape[1:]
        flat = PROBABILITIES.reshape(2, *(1 for _ in size)).expand(2, *size)
        out = step({"image": image, **{key: MetaTensor(flat.clone(), meta=dict(image.meta)) for key in step.keys}})
        for key in step.keys:
            values = out[key].as_tensor().float().flatten(1)
            low, high = values.amin(1), values.amax(1)
            masks = isinstance(step, InvertMasksd)
            # Outside of a crop is 0.
            torch.testing.assert_close(high, PROBABILITIES.round() if masks else PROBABILITIES, atol=1e-3, rtol=0)
            assert (low > -1e-3).all()


@pytest.mark.parametrize(
    ("name", "overlay", "way"),
    [
        # A DICOM cohort is converted to be evaluated.
        pytest.param(
            name, overlay, way, marks=[pytest.mark.slow] if (name, way) == ("prostate_ctan", "evaluation") else []
        )
        for name, overlay in [*((name, None) for name in BUNDLES), *(("openkbp_ctan", o) for o in OVERLAYS)]
        for way in ("evaluation", "inference")
    ],
)
def test_of_every_bundle_and_overlay(bundles, cohort, tmp_path, name, overlay, way):
    configs = bundles / name / "configs"
    places = {
        "bundle_root": str(bundles / name),
        "dataset_dir": cohort(name),
        "output_dir": str(tmp_path / "out"),
    }
    if way == "evaluation":
        files = [configs / "train.json", *([configs / f"{overlay}.json"] if overlay else [])]
        check(files, "validate#dataset", "validate#postprocessing", cache_dir=str(tmp_path / "cache"), **places)
    else:
        files = [configs / "inference.json", *([configs / f"{overlay}_inference.json"] if overlay else [])]
        check(files, "dataset", "postprocessing", **places)


@pytest.mark.parametrize("way", ["evaluation", "inference"])
@pytest.mark.parametrize("kind", NEW)
def test_of_new_bundles(tmp_path, kind, way):
    dims, channels, text = NEW[kind]
    plan = Plan(kind, kind.capitalize(), dims, channels, parse_tasks(text))
    folder = write_bundle(plan, tmp_path / kind)
    data = task_cohort(tmp_path / "data", plan.task_list, dims, channels, plan.classes, cases=10)
    places = {"bundle_root": str(folder), "dataset_dir": data, "output_dir": str(tmp_path / "out")}
    if way == "evaluation":
        files = [folder / "configs" / "train.json"]
        check(files, "validate#dataset", "validate#postprocessing", cache_dir=str(tmp_path / "cache"), **places)
    else:
        untrained = str(tmp_path / "model.pt")
        check([folder / "configs" / "inference.json"], "dataset", "postprocessing", checkpoint=untrained, **places)
