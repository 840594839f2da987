# SPDX-License-Identifier: Apache-2.0
"""A bundle's inference with a small network, with an ear on its log, and with trouble where its results go."""

from __future__ import annotations

import errno
import itertools
import logging
import os
import resource
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from inference_judge import PLAIN
from monai.bundle import ConfigWorkflow

__all__ = ["CONFIGS", "listening", "predict", "trouble"]

CONFIGS = Path(__file__).resolve().parents[2] / "bundles"
SMALL: dict[str, dict[str, Any]] = {
    "openkbp_ctan": {"window": [16, 16, 16], "any_site": True},
    "prostate_ctan": {"window": [16, 16, 16]},
    "stoic_ctan": {"image_size": [32, 32, 32]},
    "ham10000_ctan": {"image_size": [64, 64]},
}


class Told(logging.Handler):
    """Keeps what was logged."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def listening() -> Iterator[Told]:
    told, logger = Told(), logging.getLogger("ctan_networks")
    before = logger.level
    logger.addHandler(told)
    logger.setLevel(logging.INFO)
    try:
        yield told
    finally:
        logger.removeHandler(told)
        logger.setLevel(before)


@contextmanager
def trouble(kind: str | None, out: Path, names: list[str]) -> Iterator[None]:
    """Something is wrong with the folder of results, or becomes so."""
    replace, count = os.replace, itertools.count(1)

    def fail(code: int) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> None:
            raise OSError(code, os.strerror(code), "a temporary file")

        return call

    def vanish(one: str, two: str) -> None:
        if next(count) == 2:
            shutil.rmtree(out)
        replace(one, two)

    if kind == "a file for the folder":
        out.write_bytes(b"precious")
    elif kind == "a file for the case":
        out.mkdir()
        for name in names:
            if PLAIN.fullmatch(name):
                (out / name).write_bytes(b"precious")
    if kind == "too large":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (700, resource.RLIM_INFINITY))
    patches: dict[str, Any] = {
        "read-only": mock.patch.object(tempfile, "mkstemp", fail(errno.EROFS)),
        "full": mock.patch.object(tempfile, "mkstemp", fail(errno.ENOSPC)),
        "renaming fails": mock.patch.object(os, "replace", fail(errno.EACCES)),
        "vanishes": mock.patch.object(os, "replace", vanish),
    }
    try:
        with patches.get(kind or "") or mock.patch.object(os, "replace", replace):
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def predict(bundle: str, data: Path, out: Path, **options: Any) -> None:
    """The bundle's inference as ``monai.bundle run`` does it, with a small network of fixed weights."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    workflow = ConfigWorkflow(
        str(CONFIGS / bundle / "configs" / "inference.json"),
        workflow_type="infer",
        logging_file=False,
        load_pretrain=False,
        dataset_dir=str(data),
        output_dir=str(out),
        device="cpu",
        **{"network_def#channels": [8, 8, 8]},
        **SMALL[bundle],
        **options,
    )
    workflow.initialize()
    _open_up(workflow.parser.get_parsed_content("network"))
    workflow.run()


def _open_up(network: torch.nn.Module) -> None:
    """Untrained networks find no structure, and a low dose, everywhere: results that could hardly be wrong."""
    for module in network.modules():
        if getattr(module, "start_bias", None) is not None:
            with torch.no_grad():
                module.head.bias.zero_()
                module.head.weight.mul_(20)
