# SPDX-License-Identifier: Apache-2.0
"""One forward pass of CTAN against the two STL passes, and HPS and MTAN: 128 x 128 x 128 and 256 x 256."""

from __future__ import annotations

from functools import partial

import torch
from common import BUNDLES, interleaved, parser, ratio, show, spread, summed
from monai.bundle import ConfigParser
from torch import nn
from training_step import TASKS

from ctan_networks.workflow import keep_memory


def make(name: str, architecture: str, task: str | None, channels: list[int] | None) -> nn.Module:
    """The network as a bundle's inference.json lays it out in memory."""
    config = ConfigParser()
    config.read_config(BUNDLES / name / "configs" / "inference.json")
    config.update({"bundle_root": str(BUNDLES / name), "architecture": architecture, "task": task})
    # The networks compared share the plain encoder; the weights' own would differ by bundle.
    config["encoder"] = "plain"
    if channels:
        config["network_def#channels"] = channels
    config.parse()
    return config.get_parsed_content("network").eval()


@torch.no_grad()
def main() -> None:
    """Print a table for each bundle."""
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=10)
    given = arguments.parse_args()
    keep_memory(2**30)
    sizes: dict[str, tuple[int, ...]] = {"openkbp_ctan": (1, 1, 128, 128, 128), "ham10000_ctan": (1, 3, 256, 256)}
    for name, size in sizes.items():
        if given.quick:
            size = (*size[:2], *(32 for _ in size[2:]))
        image = torch.randn(size)
        first, second = TASKS[name]
        runs = {"ctan": None, "mtan": None, "hps": None, f"stl {first}": first, f"stl {second}": second}
        networks = {
            run: make(name, run.split()[0], t, [16, 16, 16] if given.quick else None) for run, t in runs.items()
        }
        times = interleaved(
            {run: partial(network, image) for run, network in networks.items()},
            1 if given.quick else given.rounds,
        )
        both = summed(times, [f"stl {first}", f"stl {second}"])
        show(
            f"Inference of {name}, {' x '.join(map(str, size[2:]))}. Targets for ctan: 0.9 of the two stl, 1.1 of hps",
            ["network", "forward (ms): median (range)", "of the two stl", "of hps"],
            [
                (run, spread(values, 1000, 1), ratio(values, both), ratio(values, times["hps"]))
                for run, values in [*times.items(), ("the two stl", both)]
            ],
        )


if __name__ == "__main__":
    main()
