# SPDX-License-Identifier: Apache-2.0
"""Runs a reader over bad inputs in a child process, with a limit of time and memory for each."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import resource
import shutil
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from corrupt import arm

from ctan_networks.errors import CTANError

__all__ = ["Outcome", "Watched", "Wrong", "digest_of", "memory_in_chain"]

# A busy machine must not make a fault of what it delays; what waits for ever uses no processor.
CPU_SECONDS = 20.0
MEMORY = 2 << 30
NO_MEMORY = ("bad_alloc", "Unable to allocate", "ailed to allocate", "out of memory", "MemoryError")


class Wrong(AssertionError):  # noqa: N818
    """A reader gave a result that the stored bytes do not say."""


@dataclass
class Outcome:
    """What became of one input.

    Attributes:
        kind: "read", "refused" (an error that a user can act on), "left out" (a listed skip), or "fault".
        said: the error's message, or what is wrong.
        trace: traceback of a fault.
        seconds: of processor that it took.
        digest: of the input, so that distinct ones can be counted.
        how: how the input was broken.
    """

    kind: str
    said: str = ""
    trace: str = ""
    seconds: float = 0.0
    digest: str = ""
    how: str = ""


def memory_in_chain(error: BaseException | None) -> bool:
    """Whether an error goes back to memory that could not be had."""
    while error is not None:
        if isinstance(error, MemoryError) or any(text in str(error) for text in NO_MEMORY):
            return True
        error = error.__cause__ or error.__context__
    return False


def digest_of(folder: Path, how: str) -> str:
    """Digest of all that lies in a folder, without its own name."""
    total = sha256()
    for path in sorted(folder.rglob("*"), key=os.fsencode):
        total.update(os.fsencode(path.relative_to(folder)))
        if path.is_symlink():
            total.update(os.fsencode(os.readlink(path)))
        elif path.is_file():
            total.update(path.read_bytes())
        else:
            total.update(b"other")
    # What happens while reading (a file vanishes) is not seen in the folder.
    if any(text in how for text in (" vanishes [", " be read [", " be listed [")):
        total.update(how.encode("utf-8", "replace"))
    return total.hexdigest()


def _judge(run: Callable[[], str], name: str) -> Outcome:
    started = time.process_time()
    try:
        outcome = Outcome(run())
    except CTANError as error:
        outcome = Outcome("refused", str(error))
        if memory_in_chain(error):
            outcome = Outcome("fault", f"memory: {error}", traceback.format_exc())
        elif name not in str(error):
            outcome = Outcome("fault", f"the message does not name the file: {error}", traceback.format_exc())
    except Wrong as error:
        outcome = Outcome("fault", f"silent wrong result: {error}", traceback.format_exc())
    except BaseException as error:  # noqa: BLE001  what else comes out of a reader is the fault that is looked for
        outcome = Outcome("fault", f"{type(error).__name__}: {error}"[:500], traceback.format_exc())
    outcome.seconds = time.process_time() - started
    return outcome


def _serve(pipe: Any, read: Callable[[Path], str], memory: int) -> None:
    """The child: one prepared folder after another."""
    with open("/proc/self/statm", encoding="ascii") as file:
        base = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (base + memory, base + memory))
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.dup2(devnull, 2)
    while True:
        folder, prepare = pipe.recv()
        how = digest = ""
        try:
            how = prepare(folder)
            digest = digest_of(folder, how) if folder.is_dir() else how
        except Exception as error:  # noqa: BLE001  the harness itself
            pipe.send(Outcome("not made", repr(error), traceback.format_exc()))
            continue
        pipe.send(how)
        arm()
        outcome = _judge(lambda where=folder: read(where), folder.parent.name)  # type: ignore[misc]
        outcome.how, outcome.digest = how, digest
        pipe.send(outcome)


@dataclass
class Watched:
    """A reader in a child process. Kills the child when an input takes too long, and starts another.

    Args:
        read: reads a folder; returns "read" or "left out", raises what the reader raises, or :py:class:`Wrong`.
        template: folder with good input, copied for each.
        place: folder for the copies.
        cpu_seconds: of processor that an input may take; it may wait for others three times as long.
        memory: bytes that the child may take above what it had.
    """

    read: Callable[[Path], str]
    template: Path
    place: Path
    cpu_seconds: float = CPU_SECONDS
    memory: int = MEMORY
    kinds: Counter = field(default_factory=Counter)
    faults: dict[str, Outcome] = field(default_factory=dict)
    digests: set[str] = field(default_factory=set)
    slowest: float = 0.0
    _child: Any = None
    _pipe: Any = None
    _count: int = 0

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _start(self) -> None:
        context = multiprocessing.get_context("fork")
        self._pipe, other = context.Pipe()
        self._child = context.Process(target=_serve, args=(other, self.read, self.memory), daemon=True)
        self._child.start()
        other.close()

    def _cpu(self) -> float:
        """Seconds of processor that the child has had."""
        with open(f"/proc/{self._child.pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _stop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.join()
            self._child = None

    def __call__(self, prepare: Callable[[Path], str]) -> Outcome:
        """Copy the template, break it with ``prepare`` in the child, read it there, and note what came out.

        ``prepare`` must be picklable: a function of a module with ``functools.partial``.
        """
        self._count += 1
        case = self.place / f"input_{self._count:05d}"
        folder = case / "data"
        shutil.copytree(self.template, folder)
        if self._child is None:
            self._start()
        self._pipe.send((folder, prepare))
        how, outcome = "", None
        try:
            until, cpu = time.monotonic() + 3 * self.cpu_seconds, self._cpu() + self.cpu_seconds
            while outcome is None:
                if not self._pipe.poll(0.5):
                    if time.monotonic() > until or self._cpu() > cpu:
                        outcome = Outcome("fault", f"took more than {self.cpu_seconds:g} s, or waits for ever")
                        self._stop()
                    continue
                answer = self._pipe.recv()
                if isinstance(answer, Outcome):
                    outcome = answer
                else:
                    how = answer
        except (EOFError, ConnectionResetError):
            self._child.join()
            outcome = Outcome("fault", f"the process died (exit code {self._child.exitcode})")
            self._child = None
        outcome.how = outcome.how or how
        shutil.rmtree(case, ignore_errors=True)
        if outcome.kind == "not made":
            raise AssertionError(f"{outcome.said}\n{outcome.trace}")
        new = outcome.digest not in self.digests
        self.digests.add(outcome.digest or f"{self._count}")
        if new:
            self.kinds[outcome.kind] += 1
        self.slowest = max(self.slowest, outcome.seconds)
        if outcome.kind == "fault":
            self.faults.setdefault(signature(outcome), outcome)
        return outcome

    def report(self, name: str) -> str:
        """One line, and each kind of fault once."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items()))
        lines = [
            f"FUZZ {name}: {len(self.digests)} distinct inputs: {kinds}; slowest {self.slowest:.1f} s of processor"
        ]
        lines += [f"--- {o.how}\n    {o.said}\n{shortened(o.trace)}" for o in self.faults.values()]
        return "\n".join(lines)


def shortened(trace: str) -> str:
    """The last error of a traceback, and the lines of this project that it came through."""
    lines = trace.splitlines()
    kept = [f"{a.strip()}: {b.strip()}" for a, b in itertools.pairwise(lines) if "ctan_networks/" in a]
    return "\n".join(f"    {line[-200:]}" for line in [*kept[-6:], *lines[-1:]])


def signature(outcome: Outcome) -> str:
    """The same for faults that come from the same line."""
    places = [line for line in outcome.trace.splitlines() if "ctan_networks/" in line]
    return (places[-1] if places else "") + outcome.said.split(":")[0] + ("" if places else outcome.said[:60])
