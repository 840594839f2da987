# SPDX-License-Identifier: Apache-2.0
"""Execute the runs of a comparison through ``monai.bundle``, and know which are done."""

from __future__ import annotations

import json
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import ctan_networks
from ctan_networks.command_line import as_arrived
from ctan_networks.errors import ConfigError, CTANError
from ctan_networks.tools.comparison.plan import Run
from ctan_networks.utils import atomic_path

__all__ = ["Job", "code_version", "execute", "make_jobs"]

logger = logging.getLogger(__name__)

# Processes of the runs, each waited for in a thread.
RUNNING: list[subprocess.Popen] = []
# Rooms that do not change what a training or an evaluation computes.
WITHOUT_EFFECT = ("commands", "comparison", "export", "phantoms", "reports")


class Job:
    """One run of a plan at its place on the disk.

    Args:
        run: what is trained.
        bundle: the bundle's folder.
        folder: folder of the runs; that of this run is made from its name and its identity in it.
        overrides: ids of the configuration that all runs of the comparison share.
        identity: what defines the runs beside their own overrides (configuration, data, code version).
    """

    def __init__(
        self, run: Run, bundle: Path, folder: Path, overrides: Mapping[str, Any], identity: Mapping[str, Any]
    ) -> None:
        self.run = run
        self.bundle = bundle
        self.overrides = {**overrides, **run.overrides()}
        self.identity = {**identity, "overrides": self.overrides}
        text = json.dumps(self.identity, sort_keys=True, default=str)
        self.folder = folder / f"{run.name}-{sha256(text.encode()).hexdigest()[:8]}"
        self.evaluation = self.folder / "evaluation"

    @property
    def finished(self) -> bool:
        """Whether the evaluation was written to its end: ``summary.json`` is the last of its numbers."""
        return (self.evaluation / "summary.json").is_file()

    @property
    def started(self) -> bool:
        """Whether an epoch of the training is kept."""
        return (self.folder / "last.pt").is_file()

    def commands(self) -> list[list[str]]:
        """Training and evaluation as a user types them. Called again, training goes on where it was."""
        configs = [str(self.bundle / "configs" / f"{name}.json") for name in ("train", "evaluate")]
        given = {**self.overrides, "output_dir": str(self.folder)}
        options = [part for key, value in given.items() for part in (f"--{key}", _text(value))]
        base = [sys.executable, "-m", "monai.bundle", "run"]
        evaluation = ["--checkpoint", str(self.folder / "model.pt"), "--evaluation_dir", str(self.evaluation)]
        return [
            [*base, "--config_file", configs[0], *options, "--resume", "True"],
            [*base, "--config_file", str(configs), *options, *evaluation],
        ]

    def shell(self) -> str:
        """The commands as one line for a shell or a batch system."""
        return " && ".join(shlex.join(command) for command in self.commands())

    def prepare(self) -> None:
        """Write down what defines the run."""
        with atomic_path(self.folder / "run.json") as path:
            described = {"method": self.run.method, "seed": self.run.seed, **self.identity}
            path.write_text(json.dumps(described, indent=4, default=str) + "\n", encoding="utf-8")

    def execute(self, threads: int | None = None) -> None:
        """Train and evaluate; the output goes to ``log.txt`` in the run's folder.

        Raises:
            CTANError: when a command fails; with the last line of its output.

        """
        self.prepare()
        environment = os.environ | {"PYTHONWARNINGS": "ignore"}
        # The package is found where this one is, installed or not.
        source = str(Path(ctan_networks.__file__).resolve().parents[1])
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [source, environment.get("PYTHONPATH")]))
        if threads:
            environment["OMP_NUM_THREADS"] = str(threads)
        for command in self.commands():
            with open(self.folder / "log.txt", "ab") as log:
                log.write(f"\n$ {shlex.join(command)}\n".encode())
                log.flush()
                code = _call(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
            if code:
                last = (self.folder / "log.txt").read_text(errors="replace").strip().splitlines()[-1]
                raise CTANError(
                    f"{self.run.name} ended with code {code}: {last} (all of it: {self.folder / 'log.txt'})"
                )


def make_jobs(
    runs: Sequence[Run],
    bundle: Path,
    folder: Path,
    overrides: Mapping[str, Any],
    data: Sequence[Sequence[Any]],
) -> list[Job]:
    """Give each run its place.

    Args:
        runs: the plan.
        bundle: the bundle's folder.
        folder: folder of the runs.
        overrides: ids of the configuration that all runs share.
        data: what the cases are: name and sizes of the files of each.

    Raises:
        ConfigError: when the bundle has no configuration.

    """
    configs = [bundle / "configs" / f"{name}.json" for name in ("train", "evaluate")]
    missing = [str(file) for file in configs if not file.is_file()]
    if missing:
        raise ConfigError(f"{bundle} is no bundle that can be compared: {' and '.join(missing)} is not there.")
    identity = {
        "configuration": sha256(b"".join(file.read_bytes() for file in configs)).hexdigest()[:16],
        "data": sha256(json.dumps(data, default=str).encode()).hexdigest()[:16],
        "code": code_version(),
    }
    return [Job(run, bundle, folder, overrides, identity) for run in runs]


def code_version() -> str:
    """Version of the package, and a hash of those of its files that can change a result."""
    root = Path(ctan_networks.__file__).resolve().parent
    digest = sha256()
    for file in sorted(root.rglob("*.py")):
        if file.relative_to(root).parts[0] not in WITHOUT_EFFECT:
            digest.update(file.relative_to(root).as_posix().encode() + file.read_bytes())
    return f"{ctan_networks.__version__}+{digest.hexdigest()[:12]}"


def execute(jobs: Sequence[Job], parallel: int = 1) -> list[str]:
    """Run what is not finished. A run that fails does not stop the others.

    Args:
        jobs: all runs.
        parallel: how many at once. With more than one, each gets its share of the CPU's cores.

    Returns:
        What went wrong, one text a failed run.

    """
    waiting = [job for job in jobs if not job.finished]
    logger.info("%d of %d runs are finished.", len(jobs) - len(waiting), len(jobs))
    threads = max(1, (os.cpu_count() or 1) // parallel) if parallel > 1 else None
    failures: list[str] = []

    def one(job: Job) -> None:
        logger.info("%s: %s", job.run.name, "resumed" if job.started else "started")
        try:
            job.execute(threads)
        except CTANError as error:
            logger.error("%s", error)
            failures.append(str(error))
        else:
            logger.info("%s: finished (%d of %d)", job.run.name, sum(j.finished for j in jobs), len(jobs))

    with ThreadPoolExecutor(max_workers=parallel) as pool:
        try:
            list(pool.map(one, waiting))
        except BaseException:
            # Ctrl-C, or SIGTERM: a training that lived on would keep its folder locked against the next call.
            for process in RUNNING.copy():
                process.terminate()
            raise
    return failures


def _call(command: Sequence[str], **options: Any) -> int:
    """As ``subprocess.call``, of a process that :py:func:`execute` ends when it is stopped itself."""
    with subprocess.Popen(command, **options) as process:
        RUNNING.append(process)
        try:
            return process.wait()
        finally:
            RUNNING.remove(process)


def _text(value: Any) -> str:
    """A value as it is typed: text that the command line would take for Python's in quotes."""
    return value if isinstance(value, str) and as_arrived(value) == value else repr(value)
