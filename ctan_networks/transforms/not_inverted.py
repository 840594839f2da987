# SPDX-License-Identifier: Apache-2.0
"""Transforms whose inverse is not wanted."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from monai.data import MetaTensor
from monai.transforms import Transform

__all__ = ["NotInverted"]


class NotInverted(Transform):
    """Apply a dictionary transform and leave no trace of it for ``Invertd``.

    Predictions are brought back to the grid of the image by inverting the image's preprocessing. Only its spatial steps
    may be inverted on them: the inverse of an intensity normalisation, which ``NormalizeIntensity`` has since MONAI
    1.7, would turn probabilities into grey values.

    Args:
        transform: a transform that changes no geometry.

    """

    def __init__(self, transform: Callable[[Mapping[Hashable, Any]], dict[Hashable, Any]]) -> None:
        self.transform = transform

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        before = {k: list(v.applied_operations) for k, v in data.items() if isinstance(v, MetaTensor)}
        d = dict(self.transform(data))
        for key, operations in before.items():
            if isinstance(d.get(key), MetaTensor):
                d[key].applied_operations = list(operations)
        return d
