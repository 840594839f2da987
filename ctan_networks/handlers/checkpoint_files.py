# SPDX-License-Identifier: Apache-2.0
"""Files of a training run that survive kills, full disks and damage: written, checked, exchanged, found again."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.utils import archive_damage, atomic_path

__all__ = ["load_checkpoint", "previous_of", "restore", "save_checkpoint", "save_text"]

logger = logging.getLogger(__name__)

# Settings of an optimiser that a resume takes from the command line.
RATES = ("lr", "initial_lr", "weight_decay")


def previous_of(file: Path) -> Path:
    """Where the predecessor of a checkpoint is kept: ``last.pt`` has ``last_previous.pt``."""
    return file.with_name(f"{file.stem}_previous{file.suffix}")


def save_checkpoint(state: Mapping[str, Any], target: Path, keep_previous: bool = False) -> None:
    """Write a checkpoint so that at every moment a whole one is there.

    It is written beside its place, forced to the disk, read back (checksum of every tensor) and only then given its
    name. With ``keep_previous`` what had the name before becomes :py:func:`previous_of` it.

    Args:
        state: tensors and plain values.
        target: the file.
        keep_previous: keep what is there.

    Raises:
        DataError: when it cannot be written, as on a full disk; what was there before is still there.

    """
    with _explained(target), atomic_path(target, durable=True) as temporary:
        # Through an open file: given a path, torch writes the (temporary) file's name into the archive.
        with open(temporary, "wb") as file:
            torch.save(state, file)
            # Now, and not only when it is renamed: its predecessor is to stay until it is on the disk.
            file.flush()
            os.fsync(file.fileno())
        broken = archive_damage(temporary)
        if broken:
            raise OSError(f"what was written reads back {broken}")
        if keep_previous and target.is_file():
            _keep(target, previous_of(target))


def save_text(text: str, target: Path) -> None:
    """Write a small text file of the run: whole or not at all, through a power cut too.

    Raises:
        DataError: when it cannot be written; what was there before is still there.

    """
    with _explained(target), atomic_path(target, durable=True) as path:
        path.write_text(text, encoding="utf-8", newline="")


@contextmanager
def _explained(target: Path) -> Iterator[None]:
    try:
        yield
    # torch has no error of its own for a file that cannot be written.
    except (OSError, RuntimeError) as error:
        # Its own, on a full disk, is about positions in the archive; what the system said stands behind it.
        reason: BaseException | None = error
        while reason is not None and not isinstance(reason, OSError):
            reason = reason.__cause__ or reason.__context__
        raise DataError(
            f"cannot write {target} ({reason or error}). What was there before is untouched. Free space there, or"
            " move the folder and give its new place as --output_dir; then go on with --resume True."
        ) from error


def _keep(file: Path, kept: Path) -> None:
    """Give a file a second name, in place of the file that had it; the first stays until another file takes it."""
    try:
        with atomic_path(kept) as spare:
            spare.unlink()
            os.link(file, spare)
    except OSError:
        # No hard links here. Until the new file is renamed, a moment later, a resume finds this one.
        os.replace(file, kept)


def load_checkpoint(file: Path) -> tuple[dict[str, Any], Path] | None:
    """The newest whole checkpoint: the file, or its predecessor, which a warning then names.

    Returns:
        The state, on the CPU, and the path that it was read from; None when neither file is there.

    Raises:
        ConfigError: when neither of those that are there is whole.

    """
    wrong = []
    for candidate in (file, previous_of(file)):
        if not candidate.is_file():
            wrong.append(f"{candidate.name} is not there")
            continue
        reason = archive_damage(candidate)
        if not reason:
            try:
                state = torch.load(candidate, map_location="cpu", weights_only=True)
            except Exception as error:  # noqa: BLE001  an archive of something else raises whatever it leads to
                reason = f"no checkpoint ({type(error).__name__})"
            else:
                if wrong:
                    logger.warning("%s: going on from %s instead.", "; ".join(wrong), candidate)
                return state, candidate
        wrong.append(f"{candidate.name} is {reason}")
    if all(text.endswith("is not there") for text in wrong):
        return None
    raise ConfigError(
        f"cannot resume from {file.parent}: {'; '.join(wrong)}. Remove these files to start anew, or give another"
        " --output_dir."
    )


def restore(thing: Any, saved: Mapping[str, Any]) -> None:
    """Load a state; learning rate, weight decay and length of the schedule are those that this run was given."""
    if isinstance(thing, torch.optim.Optimizer):
        given = [{key: group[key] for key in RATES if key in group} for group in thing.param_groups]
        thing.load_state_dict(dict(saved))
        for group, own in zip(thing.param_groups, given, strict=True):
            group.update(own)
    elif isinstance(thing, torch.optim.lr_scheduler.LambdaLR):
        # Its state holds the length of the schedule, too, behind whose end a longer run's rate would rise again.
        step = saved["last_epoch"]
        rates = [base * factor(step) for base, factor in zip(thing.base_lrs, thing.lr_lambdas, strict=True)]
        counted = {"last_epoch": step, "_step_count": saved["_step_count"], "_last_lr": rates}
        thing.load_state_dict({**thing.state_dict(), **counted})
        for group, rate in zip(thing.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
    else:
        thing.load_state_dict(saved)
