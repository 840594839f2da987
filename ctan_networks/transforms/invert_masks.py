# SPDX-License-Identifier: Apache-2.0
"""Masks on the grid of the case's file, in little memory."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Invertd, InvertibleTransform, MapTransform

__all__ = ["InvertMasksd"]


class InvertMasksd(MapTransform):
    """Bring probabilities back onto the grid of the case's file, and threshold them there, one channel at a time.

    The masks are those of ``Invertd(nearest_interp=False)`` and ``AsDiscreted`` after it. These hold all channels as
    float32, and several times over: for ten structures of a CT of 512 x 512 x 600 voxels 6 GB each time.

    Args:
        keys: probabilities ``[channels, *spatial]`` on the grid that ``transform`` made; they become uint8, 0 or 1.
        transform: what is to be inverted.
        orig_keys: key of the image that went through ``transform``.
        threshold: what reaches it is 1.
        allow_missing_keys: go on when a key is not there.

    """

    def __init__(
        self,
        keys: KeysCollection,
        transform: InvertibleTransform,
        orig_keys: str = "image",
        threshold: float = 0.5,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.orig_key = orig_keys
        self.threshold = threshold
        self.invert = Invertd("channel", transform, orig_keys=orig_keys, nearest_interp=False, to_tensor=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            masks = None
            for k, probabilities in enumerate(d[key]):
                case: dict[Hashable, Any] = {self.orig_key: d[self.orig_key], "channel": probabilities[None]}
                inverted = self.invert(case)["channel"]
                if masks is None:
                    empty = torch.empty((len(d[key]), *inverted.shape[1:]), dtype=torch.uint8, device=inverted.device)
                    masks = MetaTensor(empty, meta=dict(inverted.meta))
                masks[k] = inverted[0] >= self.threshold
            d[key] = masks
        return d
