# SPDX-License-Identifier: Apache-2.0
"""Marks where the cached part of a preprocessing ends."""

from __future__ import annotations

from typing import Any

from monai.transforms import Transform
from monai.transforms.traits import RandomizableTrait

__all__ = ["CacheBoundary"]


class CacheBoundary(Transform, RandomizableTrait):
    """Does nothing; what stands before it in a ``Compose`` is cached, what stands behind it runs each time.

    MONAI's caching data sets stop at the first random transform. This one counts as random, so that cheap steps that
    blow up a case (bit fields to channels, integers to floats) need not be kept on disk.
    """

    def __call__(self, data: Any) -> Any:
        return data
