# SPDX-License-Identifier: Apache-2.0
"""What a network costs: parameters, time of a training step and of an inference, peak memory."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from ctan_networks.errors import CTANError

__all__ = ["measure_cost"]


def measure_cost(config: Path, overrides: Mapping[str, Any], steps: int = 20, cases: int = 10) -> dict[str, Any]:
    """Train some steps and infer some validation cases through a bundle's own ``train.json``, in a new process.

    Args:
        config: the bundle's ``train.json``.
        overrides: ids of the configuration, such as architecture and data.
        steps: training steps; the first, which allocates, is not timed.
        cases: validation cases; the first is not timed.

    Returns:
        ``parameters``; ``step_s``: median, minimum and maximum, from the arrival of a batch to the end of the step;
        ``inference_s``: median of a case, from the arrival of its data to the end of postprocessing; ``memory_gib``:
        the process's peak in training; ``losses``: of the first and the last step; ``device``.

    Raises:
        CTANError: when the process fails.

    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_measure, args=(str(config), dict(overrides), steps, cases, theirs))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        raise CTANError(f"measuring {overrides.get('architecture')} failed; see the messages above.") from None
    finally:
        process.join()


def _measure(config: str, overrides: dict[str, Any], steps: int, cases: int, pipe: Any) -> None:
    from ignite.engine import Events
    from monai.bundle import ConfigWorkflow

    times: dict[str, list[float]] = {"train": [], "validate": []}
    losses: list[float] = []

    def clock(engine: Any, kind: str, limit: int) -> None:
        def start(engine: Any) -> None:
            times[kind].append(time.perf_counter())

        def stop(engine: Any) -> None:
            times[kind][-1] = time.perf_counter() - times[kind][-1]
            if kind == "train":
                losses.append(float(engine.state.output["loss"]))
            if engine.state.iteration >= limit:
                engine.terminate()

        engine.add_event_handler(Events.ITERATION_STARTED, start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, stop)

    with tempfile.TemporaryDirectory() as output:
        # The validation is run here, by itself and briefly.
        options = {**overrides, "output_dir": output, "epochs": 10**6, "val_interval": 10**6}
        workflow = ConfigWorkflow(config, workflow_type="train", logging_file=False, **options)
        workflow.initialize()
        trainer = workflow.parser.get_parsed_content("train#trainer")
        clock(trainer, "train", steps)
        trainer.run()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        evaluator = workflow.parser.get_parsed_content("validate#evaluator")
        clock(evaluator, "validate", cases)
        evaluator.run()
        parameters = sum(p.numel() for p in trainer.network.parameters())
        device = str(trainer.state.device)
    # Bytes on macOS, KiB elsewhere.
    unit = 2**30 if sys.platform == "darwin" else 2**20
    timed = {kind: values[1:] or values for kind, values in times.items()}
    pipe.send(
        {
            "parameters": parameters,
            "step_s": [median(timed["train"]), min(timed["train"]), max(timed["train"])],
            "inference_s": median(timed["validate"]),
            "memory_gib": memory / unit,
            "losses": [losses[0], losses[-1]],
            "device": device,
        }
    )
