# SPDX-License-Identifier: Apache-2.0
"""Names for cached results by what they were made from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch

__all__ = ["fingerprint", "fingerprint_files"]


def fingerprint(value: Any) -> str:
    """Hash of a value by its content: the same in every process, another when a setting changes.

    Objects count by their class and attributes (transforms: their settings; not their random state), arrays by their
    bytes, functions by their name. MONAI's version counts too, since its transforms may change with it.
    """
    return sha256(f"{monai.__version__}|{_describe(value, ())}".encode()).hexdigest()[:40]


def _describe(value: Any, parents: tuple[int, ...]) -> str:
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | Path | torch.dtype):
        return f"{type(value).__name__}:{value!r}"
    if id(value) in parents:
        return "..."
    inside = (*parents, id(value))
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        return f"array{array.shape}{array.dtype}{sha256(array.tobytes()).hexdigest()}"
    if isinstance(value, Mapping):
        return "{" + ",".join(sorted(f"{k!r}={_describe(v, inside)}" for k, v in value.items())) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_describe(v, inside) for v in value) + "]"
    if isinstance(value, set | frozenset):
        return "{" + ",".join(sorted(_describe(v, inside) for v in value)) + "}"
    if isinstance(value, np.random.RandomState | np.random.Generator):
        return "random"
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return f"{value.__module__}.{value.__qualname__}"
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    attributes = getattr(value, "__dict__", {})
    return kind + _describe(attributes, inside) if attributes else kind


def fingerprint_files(item: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """Path, size and modification time (ns) of each file that an item names, and of each file in a folder it names."""
    found = []
    for value in item.values():
        for name in value if isinstance(value, list | tuple) else [value]:
            if not isinstance(name, str | os.PathLike) or not os.path.exists(name):
                continue
            path = Path(name)
            for file in sorted(path.iterdir()) if path.is_dir() else [path]:
                state = file.stat()
                found.append((str(file), state.st_size, state.st_mtime_ns))
    return found
