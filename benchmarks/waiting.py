# SPDX-License-Identifier: Apache-2.0
"""Share of a training epoch spent waiting for data, of each bundle, with its own loader and step.

The first epoch fills the cache and is not counted. Waiting is the time between the end of one step and the arrival of
the next batch, as Ignite's BasicTimeProfiler measures it.
"""

from __future__ import annotations

import tempfile
import time
from typing import Any

from common import BUNDLES, in_a_process, parser, show
from monai.bundle import ConfigWorkflow

NAMES = ("openkbp_ctan", "prostate_ctan", "ham10000_ctan", "stoic_ctan")


def measure(name: str, overrides: dict[str, Any], steps: int) -> tuple[float, float, int]:
    """Seconds of waiting and of computing in the second epoch, and the number of steps."""
    from ignite.engine import Events

    waited, computed = [0.0], [0.0]
    with tempfile.TemporaryDirectory() as folder:
        options = {
            "output_dir": folder,
            "cache_dir": f"{folder}/cache",
            "epochs": 2,
            "val_interval": 10**6,
            "steps_per_epoch": None,
            **overrides,
        }
        workflow = ConfigWorkflow(
            str(BUNDLES / name / "configs" / "train.json"), workflow_type="train", logging_file=False, **options
        )
        workflow.initialize()
        trainer = workflow.parser.get_parsed_content("train#trainer")
        clock: dict[str, float] = {}

        def begin(engine: Any, what: str) -> None:
            clock[what] = time.perf_counter()

        def end(engine: Any, what: str, sums: list[float]) -> None:
            if engine.state.epoch == 2:
                sums[0] += time.perf_counter() - clock[what]

        trainer.add_event_handler(Events.GET_BATCH_STARTED, begin, "data")
        trainer.add_event_handler(Events.GET_BATCH_COMPLETED, end, "data", waited)
        trainer.add_event_handler(Events.ITERATION_STARTED, begin, "step")
        trainer.add_event_handler(Events.ITERATION_COMPLETED, end, "step", computed)

        def enough(engine: Any) -> None:
            if engine.state.epoch == 2 and engine.state.iteration >= engine.state.epoch_length + steps:
                engine.terminate()

        trainer.add_event_handler(Events.ITERATION_COMPLETED, enough)
        trainer.run()
        done = trainer.state.iteration - trainer.state.epoch_length
    return waited[0], computed[0], done


def main() -> None:
    """Print the table."""
    arguments = parser(__doc__, clock=False)
    arguments.add_argument("--bundles", nargs="*", default=NAMES)
    arguments.add_argument("--data", nargs="*", default=[], help="NAME=FOLDER of real data, e.g. openkbp_ctan=DIR")
    arguments.add_argument("--recipe", default=None, help="recipe of train.json; default: as train.json chooses")
    given = arguments.parse_args()
    places = dict(text.split("=", 1) for text in given.data)
    rows = []
    for name in given.bundles:
        options: dict[str, Any] = {"recipe_name": given.recipe} if given.recipe else {}
        if name in places:
            options["dataset_dir"] = places[name]
        waited, computed, steps = in_a_process(measure, name, options, 4 if given.quick else 10**6)
        share = 100 * waited / (waited + computed)
        kind = "real" if name in places else "phantoms"
        rows.append(
            (f"{name} ({kind})", steps, 1000 * computed / steps, 1000 * waited / steps, f"{share:.1f} %", "5 %")
        )
    show(
        "Waiting for data",
        ["bundle", "steps", "step (ms)", "waiting a step (ms)", "share of the epoch", "target: at most"],
        rows,
    )


if __name__ == "__main__":
    main()
