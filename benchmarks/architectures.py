# SPDX-License-Identifier: Apache-2.0
"""Parameters, time of a training step and peak memory of the four architectures, on one configuration and real cases.

Each architecture trains in a process of its own, one after the other, through the bundle's own train.json.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RUNS = (("ctan", None), ("mtan", None), ("hps", None), ("stl", "segmentation"), ("stl", "dose"))


def measure(options: dict[str, Any], steps: int, pipe: Any) -> None:
    """Train for some steps and send what it took."""
    from ignite.engine import Events
    from monai.bundle import ConfigWorkflow

    config = str(ROOT / "bundles" / "openkbp_ctan" / "configs" / "train.json")
    with tempfile.TemporaryDirectory() as output:
        workflow = ConfigWorkflow(config, workflow_type="train", logging_file=False, output_dir=output, **options)
        workflow.initialize()
        trainer = workflow.parser.get_parsed_content("train#trainer")
        losses: list[float] = []
        # From the arrival of a batch to the end of the step: waiting for data is not part of it.
        times: list[float] = []

        def start(engine: Any) -> None:
            times.append(time.perf_counter())

        def stop(engine: Any) -> None:
            times[-1] = time.perf_counter() - times[-1]
            losses.append(float(engine.state.output["loss"]))
            if engine.state.iteration >= steps:
                engine.terminate()

        trainer.add_event_handler(Events.ITERATION_STARTED, start)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, stop)
        trainer.run()
        parameters = sum(p.numel() for p in trainer.network.parameters())
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    # The first step allocates.
    pipe.send((parameters, median(times[1:]), min(times[1:]), max(times[1:]), memory, losses[0], losses[-1]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset_dir", required=True, help="OpenKBP's provided-data folder")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--cache_dir", default=None)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    print("| architecture | parameters (M) | step (s): median, min, max | peak memory (GiB) | loss: first, last step |")
    print("|---|---|---|---|---|")
    # The first run only fills the cache: parsing in the loader's process would slow its steps down.
    for round_, (architecture, task) in enumerate([RUNS[-1], *RUNS]):
        options = {"dataset_dir": arguments.dataset_dir, "architecture": architecture, "task": task}
        if arguments.cache_dir:
            options["cache_dir"] = arguments.cache_dir
        ours, theirs = context.Pipe()
        process = context.Process(target=measure, args=(options, arguments.steps, theirs))
        process.start()
        count, middle, low, high, memory, first, last = ours.recv()
        process.join()
        if round_ == 0:
            continue
        name = architecture + (f" ({task})" if task else "")
        step, loss = f"{middle:.2f}, {low:.2f}, {high:.2f}", f"{first:.3f}, {last:.3f}"
        print(f"| {name} | {count / 1e6:.2f} | {step} | {memory:.2f} | {loss} |", flush=True)


if __name__ == "__main__":
    main()
