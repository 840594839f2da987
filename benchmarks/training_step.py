# SPDX-License-Identifier: Apache-2.0
"""A training step of CTAN against the two STL steps that it replaces, and HPS and MTAN: time and peak memory.

Networks, losses, optimisers, one batch and what is done with freed memory are those of the bundle's train.json. Times
are interleaved in one process; each peak is of a process of its own, above what it had before its first step.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import torch
from common import BUNDLES, in_a_process, interleaved, parser, peak_memory, ratio, reset_peak, show, spread, summed
from monai.bundle import ConfigParser

from ctan_networks.workflow import keep_memory

TASKS = {
    "openkbp_ctan": ("segmentation", "dose"),
    "prostate_ctan": ("segmentation", "dose"),
    "ham10000_ctan": ("segmentation", "diagnosis"),
    "stoic_ctan": ("covid", "severity"),
}


def make_step(name: str, architecture: str, task: str | None, overrides: dict[str, Any]) -> Callable[[], None]:
    """A function that does one training step on one batch."""
    keep_memory()
    parser = ConfigParser()
    parser.read_config(BUNDLES / name / "configs" / "train.json")
    folder = tempfile.mkdtemp()
    parser.update(
        {
            "bundle_root": str(BUNDLES / name),
            "output_dir": folder,
            "cache_dir": folder,
            "architecture": architecture,
            "task": task,
            "num_workers": 0,
            **overrides,
        }
    )
    parser.parse()
    network, loss = parser.get_parsed_content("network"), parser.get_parsed_content("loss_on_device")
    optimizer, inferer = parser.get_parsed_content("optimizer"), parser.get_parsed_content("train#inferer")
    prepare = parser.get_parsed_content("prepare_batch")
    image, label = prepare(next(iter(parser.get_parsed_content("train#dataloader"))), torch.device("cpu"))
    network.train()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(inferer(image, network), label).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()

    return step


def peak(name: str, architecture: str, task: str | None, overrides: dict[str, Any]) -> float:
    """MiB above what the process had before."""
    step = make_step(name, architecture, task, overrides)
    before = reset_peak()
    for _ in range(3):
        step()
    return peak_memory() - before


def main() -> None:
    """Print a table for each bundle."""
    arguments = parser(__doc__)
    arguments.add_argument("--bundles", nargs="*", default=["openkbp_ctan", "ham10000_ctan"])
    arguments.add_argument("--recipe", default="cpu", help="recipe of train.json, for the size of crops and batches")
    arguments.add_argument("--rounds", type=int, default=10)
    given = arguments.parse_args()
    overrides: dict[str, Any] = {"recipe_name": given.recipe}
    rounds = given.rounds
    if given.quick:
        rounds = 1
        overrides |= {"network_def#channels": [16, 16, 16], "crop_size": [32, 32, 32]}
    for name in given.bundles[:1] if given.quick else given.bundles:
        first, second = TASKS[name]
        runs = {"ctan": None, "mtan": None, "hps": None, f"stl {first}": first, f"stl {second}": second}
        steps = {run: make_step(name, run.split()[0], task, overrides) for run, task in runs.items()}
        times = interleaved(steps, rounds)
        pair = [f"stl {first}", f"stl {second}"]
        both = summed(times, pair)
        memory = {run: in_a_process(peak, name, run.split()[0], task, overrides) for run, task in runs.items()}
        together = sum(memory[run] for run in pair)
        rows = [
            (
                run,
                spread(values, 1000, 0),
                ratio(values, both),
                ratio(values, times["hps"]),
                f"{memory[run]:.0f}",
                memory[run] / together,
                memory[run] / max(memory[r] for r in pair),
            )
            for run, values in [*times.items(), ("the two stl", both)]
            if run in memory
        ]
        rows.append(("the two stl", spread(both, 1000, 0), 1.0, ratio(both, times["hps"]), f"{together:.0f}", 1.0, "-"))
        show(
            f"A training step of {name}. Targets for ctan: 0.9 of the two stl (aim 0.75), 1.1 of hps; memory 0.8",
            [
                "network",
                "step (ms): median (range)",
                "of the two stl",
                "of hps",
                "peak (MiB)",
                "of the two stl's sum",
                "of the larger stl",
            ],
            rows,
        )


if __name__ == "__main__":
    main()
