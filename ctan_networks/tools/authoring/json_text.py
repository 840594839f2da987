# SPDX-License-Identifier: Apache-2.0
"""JSON as a person would write it: four spaces, and short lists and dictionaries on one line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["json_text"]

WIDTH = 110
# Entries of a dictionary that stands on one line.
FEW = 3


def json_text(value: Any) -> str:
    """The value as JSON that ends with a line break."""
    return _text(value, 0, 0) + "\n"


def _text(value: Any, depth: int, used: int) -> str:
    if not isinstance(value, Mapping | list | tuple) or not value:
        return json.dumps(value, ensure_ascii=False)
    flat = _flat(value)
    if depth > 0 and _simple(value) and 4 * depth + used + len(flat) <= WIDTH:
        return flat
    inner, outer = " " * 4 * (depth + 1), " " * 4 * depth
    if isinstance(value, Mapping):
        lines = []
        for key, entry in value.items():
            name = f"{json.dumps(key, ensure_ascii=False)}: "
            lines.append(f"{inner}{name}{_text(entry, depth + 1, len(name))}")
        return "{\n" + ",\n".join(lines) + f"\n{outer}}}"
    return "[\n" + ",\n".join(f"{inner}{_text(entry, depth + 1, 0)}" for entry in value) + f"\n{outer}]"


def _simple(value: Any) -> bool:
    """Whether a container may stand on one line."""
    if isinstance(value, Mapping):
        few = len(value) <= (2 if "_target_" in value else FEW)
        return few and not any(isinstance(entry, Mapping) for entry in value.values())
    return not any(isinstance(entry, Mapping) for entry in value)


def _flat(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
