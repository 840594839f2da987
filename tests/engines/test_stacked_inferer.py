# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from monai.inferers import SimpleInferer, SlidingWindowInferer

from ctan_networks.blocks.stacking import split_stacked
from ctan_networks.engines.stacked_inferer import StackedInferer
from ctan_networks.nets import make_network

TASKS = {
    "seg": {"kind": "segmentation", "out_channels": 2},
    "heat": {"kind": "regression", "out_channels": 1},
    "grade": {"kind": "classification", "out_channels": 3},
}
OPTIONS = {"spatial_dims": 2, "in_channels": 1, "channels": [4, 8], "norm": ["GROUP", {"num_groups": 2}]}


@pytest.mark.parametrize(("architecture", "task"), [("ctan", None), ("stl", "grade"), ("stl", "heat")])
def test_windows_give_what_the_network_gives_of_each(architecture, task):
    network = make_network(architecture, TASKS, task, **OPTIONS).eval()
    image = torch.rand(1, 1, 16, 8)
    with torch.no_grad():
        halves = [network(image[:, :, :8]), network(image[:, :, 8:])]
        stack = StackedInferer(SlidingWindowInferer((8, 8), overlap=0.0))(image, network)
    found = split_stacked(stack, network.tasks)
    assert list(found) == list(network.tasks)
    for name, spec in network.tasks.items():
        own = [half[name] for half in halves]
        # Of classes the mean over the windows.
        expected = sum(own) / 2 if spec["kind"] == "classification" else torch.cat(own, 2)
        torch.testing.assert_close(found[name], expected)


def test_a_network_that_stacks_gives_the_same():
    image = torch.rand(2, 1, 8, 8)
    outputs = []
    for stacked in (False, True):
        network = make_network("hps", TASKS, stacked=stacked, **OPTIONS).eval()
        with torch.no_grad():
            outputs.append(StackedInferer(SimpleInferer())(image, network))
    torch.testing.assert_close(outputs[0], outputs[1])
