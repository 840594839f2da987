# SPDX-License-Identifier: Apache-2.0
"""Peak memory as the volume grows, as tasks are added, and as the data set grows; a table and a plot each.

Linear, linear and flat are what is wanted. Each number is of a process of its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import BUNDLES, in_a_process, parser, peak_memory, reset_peak, show

from ctan_networks.datasets.openkbp.phantoms import openkbp_cohort
from ctan_networks.nets import make_network


def network_peak(side: int, tasks: int, training: bool) -> float:
    """MiB of a pass through CTAN, above what the process had before."""
    listed: dict[str, Any] = {
        f"task_{k}": {"kind": "segmentation" if k % 2 == 0 else "regression", "out_channels": 5 if k % 2 == 0 else 1}
        for k in range(tasks)
    }
    network = make_network(
        "ctan", listed, spatial_dims=3, in_channels=1, channels=[32, 64, 128, 192], stem_stride=2, norm="INSTANCE"
    ).train(training)
    image = torch.randn(1, 1, side, side, side)
    before = reset_peak()
    if training:
        sum(out.mean() for out in network(image).values()).backward()
    else:
        with torch.no_grad():
            network(image)
    return peak_memory() - before


def training_peak(patients: int, steps: int) -> float:
    """MiB of a process that trains on so many patients, all in all."""
    from monai.bundle import ConfigWorkflow

    with tempfile.TemporaryDirectory() as folder:
        source = Path(openkbp_cohort(Path(folder) / "one", train=1, validation=1))
        root = Path(folder) / "provided-data"
        (root / "validation-pats").mkdir(parents=True)
        (root / "train-pats").mkdir()
        (root / "validation-pats" / "pt_201").symlink_to(source / "validation-pats" / "pt_201")
        for k in range(1, patients + 1):
            (root / "train-pats" / f"pt_{k}").symlink_to(source / "train-pats" / "pt_1")
        options: dict[str, Any] = {
            "dataset_dir": str(root),
            "output_dir": f"{folder}/run",
            "cache_dir": f"{folder}/cache",
            "epochs": 1,
            "steps_per_epoch": steps,
            "val_interval": 10**6,
            "num_workers": 0,
            "recipe_name": "phantom",
        }
        config = str(BUNDLES / "openkbp_ctan" / "configs" / "train.json")
        workflow = ConfigWorkflow(config, workflow_type="train", logging_file=False, **options)
        workflow.initialize()
        trainer = workflow.parser.get_parsed_content("train#trainer")
        trainer.run()
    return peak_memory()


def plot(file: Path, what: str, values: Sequence[float], peaks: list[float]) -> None:
    """Write the curve."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(4, 3), layout="constrained")
    axes.plot(values, peaks, "o-")
    axes.set(xlabel=what, ylabel="peak memory (MiB)", ylim=(0, None))
    figure.savefig(file, dpi=120)
    plt.close(figure)


def main() -> None:
    """Print the tables, and write the plots."""
    arguments = parser(__doc__, clock=False)
    arguments.add_argument("--output_dir", default=None, help="folder of the plots; default: none are written")
    given = arguments.parse_args()
    sides = [32, 48] if given.quick else [64, 96, 128, 160, 192]
    tasks = [1, 2] if given.quick else [1, 2, 4, 8]
    patients = [2] if given.quick else [8, 32, 169]
    steps = 2 if given.quick else 169
    side = 32 if given.quick else 64
    sweeps: list[tuple[str, str, list[int], Callable[[int], float]]] = [
        ("million voxels, inference", "linear", sides, lambda n: in_a_process(network_peak, n, 2, False)),
        ("tasks, training step", "linear", tasks, lambda n: in_a_process(network_peak, side, n, True)),
        ("patients, whole process", "flat", patients, lambda n: in_a_process(training_peak, n, steps)),
    ]
    for what, wanted, values, measure in sweeps:
        peaks = [measure(value) for value in values]
        shown = [value**3 / 1e6 if "voxels" in what else value for value in values]
        slope, start = np.polyfit(shown, peaks, 1) if len(values) > 1 else (0.0, peaks[0])
        off = max(abs(p - (slope * x + start)) / p for x, p in zip(shown, peaks, strict=True))
        rows = [
            (f"{value}^3" if "voxels" in what else value, f"{p:.0f}") for value, p in zip(values, peaks, strict=True)
        ]
        show(
            f"Peak memory over {what}. Target: {wanted}; straight line {start:.0f} + {slope:.1f} x, at most"
            f" {100 * off:.0f} % off",
            [what, "peak (MiB)"],
            rows,
        )
        if given.output_dir:
            Path(given.output_dir).mkdir(parents=True, exist_ok=True)
            plot(Path(given.output_dir) / f"memory_{what.split()[-2 if 'million' not in what else 1].strip(',')}.png",
                 what, shown, peaks)  # fmt: skip


if __name__ == "__main__":
    main()
