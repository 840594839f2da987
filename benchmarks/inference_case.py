# SPDX-License-Identifier: Apache-2.0
"""Inference of cases, from their files to the files of results, against the network's forward passes alone.

Both are of one run: what the network takes is measured inside of it. Target for CT: at most 1.25.
"""

from __future__ import annotations

import tempfile
from typing import Any

from common import BUNDLES, now, parser, show
from monai.bundle import ConfigWorkflow


def measure(name: str, data: str | None, cases: int, **more: Any) -> tuple[int, float, float]:
    """Number of cases, seconds of all of the run, seconds in the network; the first case warms up."""
    with tempfile.TemporaryDirectory() as folder:
        given: dict[str, Any] = {"output_dir": folder, **more}
        if data is not None:
            given["dataset_dir"] = data
        workflow = ConfigWorkflow(
            str(BUNDLES / name / "configs" / "inference.json"),
            workflow_type="infer",
            logging_file=False,
            **given,
        )
        workflow.initialize()
        dataset = workflow.parser.get_parsed_content("dataset")
        for part in (dataset, dataset.cases):
            part.data = list(part.data)[: cases + 1]
        evaluator = workflow.parser.get_parsed_content("evaluator")
        begin: list[float] = []
        inside: list[float] = []
        ends: list[float] = []
        evaluator.network.register_forward_pre_hook(lambda *_: begin.append(now()))
        evaluator.network.register_forward_hook(lambda *_: inside.append(now() - begin[-1]))
        from ignite.engine import Events

        count: list[int] = []
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, lambda e: ends.append(now()))
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, lambda e: count.append(len(inside)))
        evaluator.run()
    done = len(ends) - 1
    return done, ends[-1] - ends[0], sum(inside[count[0] :])


def main() -> None:
    """Print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--bundles", nargs="*", default=["openkbp_ctan", "prostate_ctan", "ham10000_ctan"])
    arguments.add_argument("--data", nargs="*", default=[], help="NAME=FOLDER of real data, e.g. openkbp_ctan=DIR")
    arguments.add_argument("--cases", type=int, default=6)
    given = arguments.parse_args()
    places = dict(text.split("=", 1) for text in given.data)
    rows = []
    for name in given.bundles:
        photos = name == "ham10000_ctan"
        cases = 2 if given.quick else (100 if photos else given.cases)
        more = {} if photos else {"split": "validation"} if name == "openkbp_ctan" and name not in places else {}
        done, whole, network = measure(name, places.get(name), cases, **more)
        kind = "real" if name in places else "phantoms"
        rows.append(
            (
                f"{name} ({kind})",
                done,
                whole / done * (100 if photos else 1),
                network / done * (100 if photos else 1),
                whole / network,
                "reported (100 images)" if photos else "1.25",
            )
        )
    show(
        "Inference of a case, file to files",
        ["bundle", "cases", "all (s a case)", "network alone (s)", "ratio", "target: at most"],
        rows,
    )


if __name__ == "__main__":
    main()
