# SPDX-License-Identifier: Apache-2.0
"""A network's dose in Gy."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

__all__ = ["DoseInGrayd"]

logger = logging.getLogger(__name__)


class DoseInGrayd(MapTransform):
    """Turn a network's dose into Gy: times the unit, not below 0, and 0 where no dose can be.

    Args:
        keys: dose in units of ``unit`` Gy, ``[1, *spatial]``.
        unit: Gy in one unit of the network's output.
        unit_key: key of a case's own unit, such as its prescription in Gy; where it is not there, ``unit`` counts.
        inside_key: mask outside of which the dose is set to 0; None: nowhere.
        allow_missing_keys: go on when a key is not there.

    """

    def __init__(
        self,
        keys: KeysCollection,
        unit: float,
        inside_key: str | None = None,
        allow_missing_keys: bool = False,
        unit_key: str | None = None,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.unit = unit
        self.unit_key = unit_key
        self.inside_key = inside_key

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        d = dict(data)
        for key in self.key_iterator(d):
            unit = d.get(self.unit_key)
            if self.unit_key is not None and unit is None:
                logger.warning("case %s: no %s; its dose is for %g Gy", d.get("case", "?"), self.unit_key, self.unit)
            dose = d[key].clamp(min=0) * float(self.unit if unit is None else unit)
            if self.inside_key is not None:
                dose = dose * (d[self.inside_key].to(dose.device) > 0)
            d[key] = dose
        return d
