# SPDX-License-Identifier: Apache-2.0
"""Parameters, time of a training step and of an inference, and peak memory of the four architectures on real cases.

Each architecture trains in a process of its own, one after the other, through the bundle's own train.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ctan_networks.tools.comparison.cost import measure_cost

ROOT = Path(__file__).resolve().parents[1]
TASKS = {
    "openkbp_ctan": ("segmentation", "dose"),
    "ham10000_ctan": ("segmentation", "diagnosis"),
    "stoic_ctan": ("covid", "severity"),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="openkbp_ctan", choices=TASKS)
    parser.add_argument("--dataset_dir", help="the data set's folder, as the bundle takes it; default: its phantoms")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--cache_dir", default=None)
    arguments = parser.parse_args()
    config = ROOT / "bundles" / arguments.bundle / "configs" / "train.json"
    given = {key: value for key in ("dataset_dir", "cache_dir") if (value := getattr(arguments, key))}
    runs = [(name, None) for name in ("ctan", "mtan", "hps")] + [("stl", task) for task in TASKS[arguments.bundle]]
    print(
        "| architecture | parameters (M) | step (s): median, min, max | inference (s) | peak memory (GiB)"
        " | loss: first, last step |"
    )
    print("|---|---|---|---|---|---|")
    # The first run only fills the cache: parsing in the loader's process would slow its steps down.
    for round_, (architecture, task) in enumerate([runs[-1], *runs]):
        cost = measure_cost(config, given | {"architecture": architecture, "task": task}, arguments.steps)
        if round_ == 0:
            continue
        name = architecture + (f" ({task})" if task else "")
        step = ", ".join(f"{t:.2f}" for t in cost["step_s"])
        loss = ", ".join(f"{x:.3f}" for x in cost["losses"])
        print(
            f"| {name} | {cost['parameters'] / 1e6:.2f} | {step} | {cost['inference_s']:.2f} |"
            f" {cost['memory_gib']:.2f} | {loss} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
