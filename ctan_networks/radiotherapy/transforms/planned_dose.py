# SPDX-License-Identifier: Apache-2.0
"""The dose that was planned, on the grid of an image, once it is clear that it is the one that was prescribed."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, ResampleToMatch

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.radiotherapy.dose_check import check_gray, check_target_dose, is_target
from ctan_networks.transforms.structures import MAP_KEY, structure_masks

__all__ = ["PlannedDosed"]

# Part of a voxel that counts as rounding.
EDGE = 1e-3


class PlannedDosed(MapTransform):
    """Bring a planned dose to the grid of an image, and check that it is in Gy and what was prescribed.

    What lies outside of the dose's own grid, beyond the edges of its outer voxels, is unknown and becomes NaN; between
    their centres and their edges the dose is that of the outer voxels.

    Args:
        keys: dose in Gy, ``[1, *spatial]``, MetaTensor.
        like: key of the image, or of whatever has the grid.
        structures_key: structures on that grid, as :py:func:`ctan_networks.transforms.structures.structure_masks` takes
            them; where they are not there, the dose is not compared with the prescription.
        structures: their names, in order.
        prescription_key: key of the case's prescription in Gy; without it the highest of ``targets`` counts.
        targets: targets to the doses in Gy that are prescribed to them in every case. Of those that are drawn the
            highest counts.
        allow_missing_keys: go on when a dose is not there.

    Raises:
        ConfigError: when a target is no structure.
        DataError: when the dose cannot be in Gy, does not cover a target, or its median in the target is not near the
            prescription; names the case.

    """

    def __init__(
        self,
        keys: KeysCollection,
        like: str,
        structures: Sequence[str],
        structures_key: str = "segmentation",
        prescription_key: str = "prescription",
        targets: Mapping[str, float] | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.like = like
        self.structures = list(structures)
        self.structures_key = structures_key
        self.prescription_key = prescription_key
        self.targets = dict(targets or {})
        if unknown := [name for name in self.targets if name not in self.structures]:
            raise ConfigError(f"the targets {', '.join(unknown)} are not among the structures.")
        self.resample = ResampleToMatch(mode="bilinear", padding_mode="border")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            where = f"case {d.get('case', '?')}: {key}"
            dose = d[key]
            check_gray(where, float(dose.min()), float(dose.max()))
            known = _covered(dose, d[self.like])
            if tuple(dose.shape) != tuple(d[self.like].shape) or not _same(dose, d[self.like]):
                dose = self.resample(dose, img_dst=d[self.like])
            d[key] = dose if bool(known.all()) else torch.where(known[None], dose, torch.nan)
            if self.structures_key in d:
                self._check(where, d, torch.as_tensor(d[key][0]))
        return d

    def _check(self, where: str, d: Mapping[Hashable, Any], dose: torch.Tensor) -> None:
        medians = {}
        masks = structure_masks(d[self.structures_key], len(self.structures), bool(d.get(MAP_KEY)))
        for name, mask in zip(self.structures, masks, strict=True):
            if not is_target(name) or not bool(mask.any()):
                continue
            inside = dose[mask]
            if unknown := float(inside.isnan().double().mean()):
                raise DataError(
                    f"{where}: {100 * unknown:.0f} % of {name} lie outside of the dose grid, where the dose is not"
                    " known. Give the dose on a grid that covers the target."
                )
            medians[name] = float(np.median(inside.numpy()))
        given = max((self.targets[name] for name in medians if name in self.targets), default=None)
        prescription = d.get(self.prescription_key) or given
        if prescription is not None:
            check_target_dose(where, float(prescription), medians)


def _affine(volume: Any) -> np.ndarray:
    return np.asarray(volume.affine if isinstance(volume, MetaTensor) else np.eye(4), dtype=np.float64)


def _same(one: Any, other: Any) -> bool:
    return bool(np.allclose(_affine(one), _affine(other), atol=EDGE))


def _covered(dose: Any, image: Any) -> torch.Tensor:
    """Which voxels of the image have their centres on the dose's grid, ``[*spatial]``."""
    to_dose = np.linalg.inv(_affine(dose)) @ _affine(image)
    axes = [torch.arange(n, dtype=torch.float64) for n in image.shape[1:]]
    covered = torch.ones(tuple(image.shape[1:]), dtype=torch.bool)
    for row, count in zip(to_dose[:3], dose.shape[1:], strict=True):
        index = torch.full((), float(row[3]), dtype=torch.float64)
        for axis, (step, steps) in enumerate(zip(row[:3], axes, strict=True)):
            # An axis that does not count stays one voxel wide.
            if abs(step) * len(steps) > EDGE:
                index = index + step * steps.view([-1 if axis == other else 1 for other in range(3)])
        covered &= (index > -0.5 - EDGE) & (index < count - 0.5 + EDGE)
    return covered
