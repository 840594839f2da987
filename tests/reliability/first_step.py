# SPDX-License-Identifier: Apache-2.0
"""Run as a program: a training up to its first step, and which files of a folder were opened on the way.

``python first_step.py FOLDER RESULT CONFIG OPTIONS``: the result is JSON with "opened" (path of each open), "listed"
(cases of the training list), "bytes" (read by the process, of whatever file) and "seconds".
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

__all__ = ["main"]


def main(folder: str, result: str, config: str, options: str) -> None:
    """See the module's docstring."""
    # Imports are not what is measured.
    import torch
    from ignite.engine import Events
    from monai.bundle import ConfigWorkflow

    torch.set_num_threads(1)
    opened: list[str] = []

    def listen(event: str, arguments: tuple[Any, ...]) -> None:
        # Files that are opened by number have no path; os.open raises the event too.
        if event == "open" and isinstance(arguments[0], str | bytes):
            path = os.fsdecode(arguments[0])
            if path.startswith(folder) and os.path.isfile(path):
                opened.append(path)

    sys.addaudithook(listen)
    start, read = time.perf_counter(), bytes_read()
    workflow = ConfigWorkflow(config, workflow_type="train", logging_file=False, **json.loads(options))
    workflow.initialize()
    trainer = workflow.parser.get_parsed_content("train#trainer")

    def stop() -> None:
        found = {
            "opened": opened,
            "listed": len(workflow.parser.get_parsed_content("train#dataset").data),
            "bytes": bytes_read() - read,
            "seconds": round(time.perf_counter() - start, 1),
        }
        Path(result).write_text(json.dumps(found))
        os._exit(0)

    trainer.add_event_handler(Events.ITERATION_COMPLETED, stop)
    trainer.run()


def bytes_read() -> int:
    """Bytes that this process has asked of the operating system so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("rchar")).split()[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
