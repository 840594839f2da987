# SPDX-License-Identifier: Apache-2.0
"""What a new bundle states is what the bundles of this repository state."""

from __future__ import annotations

import json

import pytest

from ctan_networks.tools.authoring.bundle import write_bundle
from ctan_networks.tools.authoring.plan import Plan
from ctan_networks.tools.authoring.tasks import parse_tasks
from ctan_networks.tools.comparison.results import CASEWISE, COHORT


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, dict]:
    tasks = parse_tasks("seg:segmentation:liver|tumour,map:regression:1,lobes:segmentation:5,grade:classification:3")
    folder = write_bundle(Plan("mine", "Mine", 3, 1, tasks), tmp_path_factory.mktemp("new") / "mine")
    return {file.stem: json.loads(file.read_text()) for file in (folder / "configs").glob("*.json")}


def test_versions_are_those_of_the_other_bundles(bundles, written):
    mine = dict(written["metadata"]["required_packages_version"])
    mine.pop("ctan-networks")
    for name in ("openkbp_ctan", "stoic_ctan"):
        other = json.loads((bundles / name / "configs" / "metadata.json").read_text())
        assert mine.items() <= other["required_packages_version"].items()
        for key in ("monai_version", "pytorch_version", "numpy_version", "schema"):
            assert written["metadata"][key] == other[key]


def test_overlays_for_several_processes_are_those_of_the_other_bundles(bundles, written):
    for name in ("multi_gpu_train", "multi_gpu_evaluate"):
        assert written[name] == json.loads((bundles / "openkbp_ctan" / "configs" / f"{name}.json").read_text())


def test_monai_label_is_told_the_labels_of_the_volume_that_it_gets(written):
    pred = written["metadata"]["network_data_format"]["outputs"]["pred"]
    assert pred["channel_def"] == {"0": "background", "1": "liver", "2": "tumour"}
    # Logits: background and seven structures, a map, three classes.
    assert pred["num_channels"] == 1 + 7 + 1 + 3
    volumes = written["inference"]["postprocessing"]["transforms"][-1]["volumes"]
    assert next(iter(volumes)) == "seg"


def test_what_an_evaluation_compares_can_be_compared(written):
    for metrics in written["evaluate"]["compared"].values():
        assert set(metrics) <= COHORT.keys() | CASEWISE.keys()
