# SPDX-License-Identifier: Apache-2.0
"""The one place that works round a fault of MONAI's ``Spacingd``."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.transforms import Spacingd

__all__ = ["KeepKeysSpacingd"]


class KeepKeysSpacingd(Spacingd):
    """MONAI's ``Spacingd`` for data that has keys such as ``image_path`` beside ``image``.

    Since MONAI 1.6.0 ``Spacingd`` takes every entry whose key begins with ``<key>_`` for metadata of a NIfTI image and
    calls its ``update`` (monai/transforms/spatial/dictionary.py, lines 526 to 531 of 1.6.1). MONAI Label puts the
    string ``image_path`` into the data: each inference then ends in "'str' object has no attribute 'update'". Here such
    entries, unless they are dictionaries, are kept away from the transform and put back behind it.

    Arguments are those of ``monai.transforms.Spacingd``; none of ``keys`` may begin with another one and "_".

    """

    def __call__(self, data: Mapping[Hashable, Any], lazy: bool | None = None) -> dict[Hashable, Any]:
        taken = set(self.keys)
        held: dict[Hashable, Any] = {
            key: value
            for key, value in data.items()
            if key not in taken
            and isinstance(key, str)
            and not isinstance(value, dict)
            and any(key.startswith(f"{name}_") for name in taken)
        }
        rest = {key: value for key, value in data.items() if key not in held}
        return {**super().__call__(rest, lazy), **held}
