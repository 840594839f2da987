# SPDX-License-Identifier: Apache-2.0
"""Errors that a user can act on. Each message names the file or case, says what is wrong and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

__all__ = ["CTANError", "ConfigError", "DataError", "causes", "reason_of", "refuse_unknown"]

# What PyTorch says, in a RuntimeError, when memory cannot be had.
NO_MEMORY = ("can't allocate memory", "out of memory")


class CTANError(Exception):
    """Base of all errors this package raises on purpose."""


class DataError(CTANError, ValueError):
    """A file, case or folder cannot be used as it is."""


class ConfigError(CTANError, ValueError):
    """A setting of a configuration or an argument of a command cannot be used as it is."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, what it comes from, what that comes from, and so on."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def reason_of(error: BaseException) -> str:
    """The first thing that went wrong, without the layers of transforms around it."""
    root = error
    for root in causes(error):
        if isinstance(root, CTANError):
            return str(root)
    if isinstance(root, MemoryError) or any(text in str(root) for text in NO_MEMORY):
        return f"it needs more memory than there is ({root or 'MemoryError'}). Free some, or cut out what matters."
    return str(root) if isinstance(root, OSError) else f"{type(root).__name__}: {root}"


def refuse_unknown(names: Iterable[object], known: Iterable[object], where: str) -> None:
    """Refuse names that do not exist, such as a misspelt key, which would be passed over without a word.

    Args:
        names: what was given.
        known: what there is.
        where: where it was given, for the message.

    Raises:
        ConfigError: names the first, and the one that may have been meant.

    """
    there = list(dict.fromkeys(map(str, known)))
    for name in map(str, names):
        if name not in there:
            near = difflib.get_close_matches(name, there, n=1)
            # "channels" is not close to "out_channels" by its letters alone.
            near = near or [other for other in there if name.lower() in other.lower()]
            meant = f" Did you mean {near[0]}?" if near else f" There are: {', '.join(there) or 'none'}."
            raise ConfigError(f"{where}: there is no {name}.{meant}")
