# SPDX-License-Identifier: Apache-2.0
"""MetaTensors as plain tensors and values, and back, so that a cache needs no unrestricted pickle."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor

__all__ = ["pack_meta", "unpack_meta"]

MARK = "__meta_tensor__"


def pack_meta(value: Any) -> Any:
    """Replace MetaTensors, arrays and objects in nested containers by tensors and plain values.

    Of an object that is neither, its text stays: metadata that matters (affine, shapes, applied operations) is made of
    numbers, arrays, strings and containers.
    """
    if isinstance(value, MetaTensor):
        return {
            MARK: value.as_tensor().contiguous(),
            "meta": pack_meta(dict(value.meta)),
            "applied_operations": pack_meta(list(value.applied_operations)),
        }
    if isinstance(value, torch.Tensor):
        return value.contiguous()
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Enum):
        return pack_meta(value.value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy()) if value.dtype.kind in "biuf" else [pack_meta(v) for v in value.tolist()]
    if isinstance(value, Mapping):
        return {str(k): pack_meta(v) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(pack_meta(v) for v in value)
    if isinstance(value, list):
        return [pack_meta(v) for v in value]
    return str(value) if isinstance(value, str | Path) else repr(value)


def unpack_meta(value: Any) -> Any:
    """Undo :py:func:`pack_meta`; arrays stay tensors."""
    if isinstance(value, dict):
        if MARK in value:
            return MetaTensor(
                value[MARK],
                meta=unpack_meta(value["meta"]),
                applied_operations=unpack_meta(value["applied_operations"]),
            )
        return {k: unpack_meta(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(unpack_meta(v) for v in value)
    return value
