# SPDX-License-Identifier: Apache-2.0
"""One training a folder."""

from __future__ import annotations

import logging
from pathlib import Path

from filelock import FileLock, Timeout

from ctan_networks.errors import ConfigError

__all__ = ["LOCK", "lock_run"]

logger = logging.getLogger(__name__)

LOCK = ".training.lock"


def lock_run(folder: Path) -> FileLock | None:
    """Keep other processes from training into a folder, until this one releases the lock or ends, however it ends.

    Args:
        folder: the run's folder; made if need be.

    Returns:
        The lock, held; None where the file system knows no locks, which is logged.

    Raises:
        ConfigError: when another process trains there, or the folder cannot be made.

    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the folder {folder} ({error}). Give another --output_dir.") from error
    # A singleton, so that one training after the other in one process is no conflict.
    lock = FileLock(folder / LOCK, timeout=0, is_singleton=True, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise ConfigError(
            f"another training writes to {folder}. Give this one another --output_dir, or wait until that one has"
            " ended."
        ) from None
    except (OSError, NotImplementedError) as error:
        logger.warning("%s cannot be locked (%s): see to it that no other training writes there.", folder, error)
        return None
    return lock
