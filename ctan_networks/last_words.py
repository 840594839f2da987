# SPDX-License-Identifier: Apache-2.0
"""The last words of a command that ends with an error."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from types import FrameType, TracebackType

from monai.utils import OptionalImportError

from ctan_networks.errors import CTANError

__all__ = ["install"]

# Set to 1, or with --debug on the command line: the traceback too.
DEBUG = "CTAN_DEBUG"
# A place that may not be written to, or that is no folder where there must be one.
UNUSABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG)
# What torch says of a loader's worker that got SIGTERM.
WORKER_STOPPED = "is killed by signal: Terminated"
MISSING = re.compile(r"No module named '(?P<name>[\w.]+)'")


def install() -> None:
    """See :py:func:`ctan_networks.workflow.explain_errors`."""
    if sys.excepthook is not _explain:
        sys.excepthook = _explain
    # Not in a server, which has a handler of its own or runs this in a thread.
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM as Ctrl-C: files that are being written are removed, locks released."""
    raise KeyboardInterrupt(signal.Signals(number).name)


def _explain(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    # A cluster's signal goes to the loader's workers too, and torch may tell of their end before this process ends.
    stopped = next((part for part in chain if isinstance(part, KeyboardInterrupt) or WORKER_STOPPED in str(part)), None)
    if stopped is not None:
        name = str(stopped) if isinstance(stopped, KeyboardInterrupt) else signal.Signals.SIGTERM.name
        print(
            f"\nSTOPPED ({name or 'Ctrl-C'}). What was finished is kept. A training goes on from the end of its last"
            " epoch: the same command with --resume True (a comparison: the same command).",
            file=sys.stderr,
        )
        return
    said = _reason(chain)
    if not said or os.environ.get(DEBUG, "0") not in ("", "0") or "--debug" in sys.argv:
        traceback.print_exception(kind, error, trace)
        print(file=sys.stderr)
    if said:
        print(f"ERROR: {said}", file=sys.stderr)


def _reason(chain: Sequence[BaseException]) -> str:
    """What a user can act on, in one line; empty where nobody foresaw it."""
    for cause in chain:
        if isinstance(cause, CTANError):
            # From a loader's worker process comes the whole traceback as text; its last line is the message.
            last = str(cause).strip().splitlines()[-1]
            return last.removeprefix(f"{type(cause).__module__}.{type(cause).__name__}: ")
    for cause in chain:
        # Where others write: TensorBoard's files, say.
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return (
                f"a disk is full ({cause}). Free space on it; a training goes on from the end of its last epoch: the"
                " same command with --resume True."
            )
        if isinstance(cause, OSError) and cause.errno in UNUSABLE and cause.filename is not None:
            return (
                f"{os.fsdecode(cause.filename)} cannot be used ({cause.strerror}). Check that path and its permissions,"
                " or give another one, such as another --output_dir."
            )
        missing = MISSING.search(str(cause)) if isinstance(cause, ImportError | OptionalImportError) else None
        if missing is not None:
            name = missing["name"].partition(".")[0]
            return (
                f"the Python package {name} is not installed: pip install {name}. It is needed for what was asked for."
            )
    return ""
