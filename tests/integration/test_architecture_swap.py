# SPDX-License-Identifier: Apache-2.0
"""A fair comparison: of one seed, the runs of all architectures see the same data and start from the same weights."""

from __future__ import annotations

import pytest
import torch

from ctan_networks.datasets.ham10000.phantoms import ham10000_cohort
from ctan_networks.datasets.openkbp.phantoms import openkbp_cohort

COHORTS = {
    "ham10000_ctan": lambda folder: ham10000_cohort(folder, lesions=21),
    "openkbp_ctan": lambda folder: openkbp_cohort(folder, train=3, validation=1),
}
STEPS = 3


def image_of(sample) -> torch.Tensor:
    """Transforms that crop give a list of crops."""
    return torch.as_tensor((sample[0] if isinstance(sample, list) else sample)["image"])


@pytest.fixture(scope="module", params=COHORTS)
def runs(request, bundle_copy, tmp_path_factory):
    """Architecture to initial weights, the images of the first steps of two epochs, and each case's in the second."""
    bundle = bundle_copy(request.param, small={}, quick={"num_workers": 0, "batch_size": 4})
    place = tmp_path_factory.mktemp("swap")
    data = COHORTS[request.param](place / "data")
    found = {}
    for architecture in ("ctan", "mtan", "hps", "stl"):
        given = {"dataset_dir": data, "cache_dir": str(place / "cache"), "output_dir": str(place / architecture)}
        workflow = bundle.workflow(("train",), "train", architecture=architecture, **given)
        network = workflow.parser.get_parsed_content("network_def")
        loader = workflow.parser.get_parsed_content("train#dataloader")
        batches = []
        for epoch in range(2):
            loader.sampler.set_epoch(epoch)
            batches += [torch.as_tensor(batch["image"]) for batch, _ in zip(loader, range(STEPS), strict=False)]
        dataset = loader.dataset
        drawn = {item["case"]: image_of(dataset[(1, k)]) for k, item in enumerate(dataset.data)}
        found[architecture] = ({k: v.clone() for k, v in network.state_dict().items()}, batches, drawn)
    return found


def test_multi_task_runs_are_fed_the_same_batches(runs):
    _, reference, _ = runs["ctan"]
    assert not torch.equal(reference[0], reference[1])
    for architecture in ("mtan", "hps"):
        for batch, expected in zip(runs[architecture][1], reference, strict=True):
            assert torch.equal(batch, expected)


def test_a_case_is_augmented_the_same_in_every_run(runs):
    """Also in a single-task run, which lists fewer cases where not all have its label."""
    _, _, reference = runs["ctan"]
    for _, _, drawn in runs.values():
        assert drawn.keys() <= reference.keys()
        for case, image in drawn.items():
            assert torch.equal(image, reference[case])


def test_what_networks_share_starts_the_same(runs):
    weights, _, _ = runs["ctan"]
    for architecture, (others, _, _) in runs.items():
        common = weights.keys() & others.keys()
        assert {k for k in weights if k.startswith("encoder.")} <= common, architecture
        for key in common:
            assert torch.equal(weights[key], others[key]), (architecture, key)
