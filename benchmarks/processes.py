# SPDX-License-Identifier: Apache-2.0
"""Two processes of torchrun (gloo on the CPU, NCCL on GPUs) against one with twice the batch: losses and time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from common import BUNDLES, ROOT, parser, show

TAKEN = re.compile(r"SupervisedTrainer - INFO - Epoch\[(\d+)\] Complete\. Time taken: (\d+):(\d+):([\d.]+)")


def run(processes: int, options: dict[str, Any], threads: int) -> tuple[pd.DataFrame, float]:
    """The history, and seconds an epoch without the first."""
    configs = BUNDLES / "openkbp_ctan" / "configs"
    files = [str(configs / f"{name}.json") for name in ("train", "multi_gpu_train")[:processes]]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m", "monai.bundle"]
    start = launcher if processes > 1 else ["-m", "monai.bundle"]
    given = [text for key, value in options.items() for text in (f"--{key}", str(value).replace(" ", ""))]
    done = subprocess.run(
        [sys.executable, *start, "run", "--config_file", str(files), *given],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    epochs = {int(e): 3600 * int(h) + 60 * int(m) + float(s) for e, h, m, s in TAKEN.findall(done.stdout + done.stderr)}
    later = [seconds for epoch, seconds in epochs.items() if epoch > 1] or list(epochs.values())
    return pd.read_csv(Path(options["output_dir"]) / "history.csv"), sum(later) / len(later)


def main() -> None:
    """Print the table."""
    arguments = parser(__doc__, "OpenKBP's provided-data; default: the bundle's phantoms", clock=False)
    given = arguments.parse_args()
    threads = max(1, (os.cpu_count() or 1) // 2)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {
            "cache_dir": f"{folder}/cache",
            "epochs": 2 if given.quick else 4,
            "val_interval": 100,
            "num_workers": 0,
            "crop_size": [32, 32, 32] if given.quick else [48, 64, 48],
            "steps_per_epoch": 4 if given.quick else 24,
        }
        if given.quick:
            options["network_def#channels"] = [8, 8, 8]
        if given.data:
            options["dataset_dir"] = given.data
        for kind, precision in (("float32", {"amp": False}), ("as the bundle chooses", {})):
            both = options | precision
            place = f"{folder}/{len(precision)}"
            one, seconds = run(1, both | {"output_dir": f"{place}/one", "train#dataloader#batch_size": 2}, 2 * threads)
            two, other = run(2, both | {"output_dir": f"{place}/two"}, threads)
            curve = one["name"].str.startswith("loss_")
            apart = float((one["value"] - two["value"])[curve].abs().max())
            rows += [
                (f"1, batch 2, {kind}", seconds, 1.0, "-"),
                (f"2, batch 1 each, {kind}", other, seconds / other, f"{apart:.1e}"),
            ]
    show(
        "Two processes against one with twice the batch, openkbp_ctan. Target: losses within 1e-4",
        ["processes", "s an epoch", "times as fast", "largest difference of a loss"],
        rows,
    )


if __name__ == "__main__":
    main()
