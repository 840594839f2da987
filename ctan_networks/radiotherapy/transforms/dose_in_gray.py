# SPDX-License-Identifier: Apache-2.0
"""A network's dose in Gy."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from ctan_networks.errors import ConfigError

__all__ = ["UNIT", "DoseInGrayd"]

logger = logging.getLogger(__name__)

# Key of the Gy that one unit of a case's dose was taken for.
UNIT = "unit"
# Prescriptions that differ by less are the same one.
SAME = 0.01


class DoseInGrayd(MapTransform):
    """Turn a network's dose into Gy: times the unit, not below 0, and 0 where no dose can be.

    The unit of each case is noted under "unit".

    Args:
        keys: dose in units of ``unit`` Gy, ``[1, *spatial]``.
        unit: Gy in one unit of the network's output.
        unit_key: key of a case's own unit, such as its prescription in Gy; where it is not there, ``unit`` counts.
        inside_key: mask outside of which the dose is set to 0; None: nowhere.
        allow_missing_keys: go on when a key is not there.
        learnt: whether the network learnt doses at ``unit`` alone, so that a dose of another level is worth a warning.
        targets: targets that the network was given to their doses in Gy, which were learnt together: the highest target
            that is drawn then gets the case's own unit. A unit that is one of these doses is of the same scheme, and
            changes nothing.
        structures: names of the channels of ``contours_key``.
        contours_key: masks ``[structures, *spatial]`` with the drawn targets.

    Raises:
        ConfigError: when a target is no structure.

    """

    def __init__(
        self,
        keys: KeysCollection,
        unit: float,
        inside_key: str | None = None,
        allow_missing_keys: bool = False,
        unit_key: str | None = None,
        learnt: bool = False,
        targets: Mapping[str, float] | None = None,
        structures: Sequence[str] = (),
        contours_key: str = "contours",
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.unit = unit
        self.unit_key = unit_key
        self.inside_key = inside_key
        self.learnt = learnt
        self.targets = dict(targets or {})
        self.contours_key = contours_key
        names = list(structures)
        if unknown := [name for name in self.targets if name not in names]:
            raise ConfigError(f"the targets {', '.join(unknown)} are not among the structures {', '.join(names)}.")
        self.positions = {name: names.index(name) for name in self.targets}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        unit = self._unit(d)
        for key in self.key_iterator(d):
            dose = d[key].clamp(min=0) * unit
            if self.inside_key is not None:
                dose = dose * (d[self.inside_key].to(dose.device) > 0)
            d[key] = dose
        return {**d, UNIT: unit}

    def _unit(self, d: Mapping[Hashable, Any]) -> float:
        case, own = d.get("case", "?"), d.get(self.unit_key) if self.unit_key is not None else None
        if own is None:
            if self.unit_key is not None:
                tell = logger.info if self.learnt else logger.warning
                tell("case %s: no %s; its dose is for %g Gy", case, self.unit_key, self.unit)
            return float(self.unit)
        level = self._level(d, float(own))
        unit = float(own) / level
        if self.learnt and abs(unit / self.unit - 1) > SAME:
            logger.warning(
                "case %s: its prescription is %g Gy, and the network learnt doses for %g Gy: what it predicts is scaled"
                " by %.3g",
                case,
                own,
                self.unit * level,
                unit / self.unit,
            )
        return unit

    def _level(self, d: Mapping[Hashable, Any], own: float) -> float:
        """What the highest target gets that is drawn, in units of the highest of all."""
        if any(abs(own / dose - 1) <= SAME for dose in self.targets.values()):
            return own / self.unit
        drawn = [
            dose
            for name, dose in self.targets.items()
            if bool((torch.as_tensor(d[self.contours_key][self.positions[name]]) > 0.5).any())
        ]
        return max(drawn) / max(self.targets.values()) if drawn else 1.0
