# SPDX-License-Identifier: Apache-2.0
"""Dose where it is possible, and 0 elsewhere."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from ctan_networks.errors import DataError

__all__ = ["PossibleDosed"]


class PossibleDosed(MapTransform):
    """Set the dose to 0 where none is possible, on the image's own grid.

    Dose is possible inside the case's mask (OpenKBP's possible-dose mask, a clinic's external contour) or, for a case
    without one, in the body found in the CT. The region is noted under ``region_key``, for metrics.

    Args:
        keys: dose ``[1, *spatial]``.
        mask_key: mask ``[1, *spatial]``, above 0 is inside; a case need not have it.
        body_key: the body, on the same grid.
        region_key: where the region is noted.
        allow_missing_keys: go on when a key is not there.

    Raises:
        DataError: when the region and the dose are not on one grid.

    """

    def __init__(
        self,
        keys: KeysCollection,
        mask_key: str = "mask",
        body_key: str = "body",
        region_key: str = "reference_mask",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        self.body_key = body_key
        self.region_key = region_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        region = d[self.mask_key if self.mask_key in d else self.body_key]
        d[self.region_key] = region
        for key in self.key_iterator(d):
            dose = d[key]
            if dose.shape[1:] != region.shape[1:] or not _same_place(dose, region):
                raise DataError(
                    f"case {d.get('case', '?')}: the mask of where dose is possible ({tuple(region.shape[1:])} voxels)"
                    f" is not on the image's grid ({tuple(dose.shape[1:])}). Resample it to the image."
                )
            d[key] = dose * (region.to(dose.device) > 0)
        return d


def _same_place(one: Any, other: Any) -> bool:
    both = isinstance(one, MetaTensor) and isinstance(other, MetaTensor)
    return not both or bool(torch.allclose(one.affine.cpu(), other.affine.cpu(), atol=1e-2))
