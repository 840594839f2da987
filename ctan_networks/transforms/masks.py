# SPDX-License-Identifier: Apache-2.0
"""Masks of photographs, whichever way their files write "inside"."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

__all__ = ["BinaryMaskd"]

MIDDLE = 128


class BinaryMaskd(MapTransform):
    """Turn a grey image into a 0/1 mask: 128 and more is inside, or 1 where nothing in the file is above 1.

    Data sets store 0 and 255; MONAI Label and many scripts store 0 and 1, which looks black in a viewer.

    Args:
        keys: grey images ``[1, *spatial]``, 0 to 255.
        allow_missing_keys: go on when a key is not there.

    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            grey = d[key]
            d[key] = (grey >= (MIDDLE if torch.as_tensor(grey).max() > 1 else 1)).to(torch.float32)
        return d
