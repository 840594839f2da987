# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: interleaved timing, peak memory of a process of its own, and a table."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BUNDLES = ROOT / "bundles"
# Scripts are run without the package being installed, too.
sys.path.insert(0, str(ROOT))


CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
chosen = {"clock": "wall"}


def _choose(name: str) -> str:
    if name not in CLOCKS:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(CLOCKS)}")
    chosen["clock"] = name
    return name


def parser(text: str | None, data: str = "", clock: bool = True) -> argparse.ArgumentParser:
    """Arguments of every script: ``--quick``; ``--clock``; ``--data`` where there is something to say about it."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="few rounds and small sizes, to see that it works")
    if clock:
        made.add_argument(
            "--clock",
            type=_choose,
            default="wall",
            help="wall, or cpu: the process's own CPU seconds, for a machine with other work and OMP_NUM_THREADS=1",
        )
    if data:
        made.add_argument("--data", default=None, help=data)
    return made


def now() -> float:
    """Seconds on the chosen clock."""
    return CLOCKS[chosen["clock"]]()


def interleaved(what: Mapping[str, Callable[[], Any]], rounds: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Seconds of each function, called in turn: what slows the machine down slows all of them."""
    times: dict[str, list[float]] = {name: [] for name in what}
    for round_ in range(warm_up + rounds):
        for name, function in what.items():
            begin = now()
            function()
            if round_ >= warm_up:
                times[name].append(now() - begin)
    return times


def summed(times: Mapping[str, Sequence[float]], names: Sequence[str]) -> list[float]:
    """Times of several functions of one round together."""
    return [sum(parts) for parts in zip(*(times[name] for name in names), strict=True)]


def spread(values: Sequence[float], unit: float = 1.0, digits: int = 2) -> str:
    """Median and range: ``1.20 (1.10 to 1.50)``."""
    middle, low, high = (f"{value * unit:.{digits}f}" for value in (median(values), min(values), max(values)))
    return f"{middle} ({low} to {high})"


def ratio(one: Sequence[float], other: Sequence[float]) -> float:
    """Median of the rounds' ratios."""
    return median(a / b for a, b in zip(one, other, strict=True))


def in_a_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function of a module returns, from a new process; it may ask :py:func:`peak_memory` there."""
    # Not a Pool: its processes may not start a loader's workers.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peak_memory() -> float:
    """The process's largest resident memory since its start or :py:func:`reset_peak`, in MiB."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Not getrusage: on Linux a new process begins with the peak of the one that started it.
        return next(int(x.split()[1]) for x in status.read_text().splitlines() if x.startswith("VmHWM:")) / 2**10
    # Bytes on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def reset_peak() -> float:
    """Forget the peak so far (Linux), which imports and reading have made; the memory that is taken now, in MiB."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak_memory()


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print one table, below a line on machine and versions."""
    import torch

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        cpu = next((x.partition(":")[2].strip() for x in info.read_text().splitlines() if "model name" in x), cpu)
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "monai", "numpy", "pandas"))
    # A load above what the benchmark itself makes says that the machine had other work to do.
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(
        f"\n{title}\n{date.today()}, {os.cpu_count()} cores of {cpu}{load}, {torch.get_num_threads()} threads,"
        f" {chosen['clock']} clock, Python {platform.python_version()}, {versions}\n"
    )
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row) + " |")
    sys.stdout.flush()
