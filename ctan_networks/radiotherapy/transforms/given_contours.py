# SPDX-License-Identifier: Apache-2.0
"""Contours that a physician has drawn, as input of a network that predicts the rest."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import convert_to_tensor, ensure_tuple

from ctan_networks.errors import ConfigError, DataError

__all__ = ["GivenContoursd", "KeepGivenContoursd"]


class GivenContoursd(MapTransform):
    """Add given contours to an image as further channels.

    The image ``[1, *spatial]`` becomes ``[2 + organs + 1, *spatial]``: itself, the prescribed dose of the targets
    (where several overlap, the highest; 0 outside of all), a mask of each given organ (0 where nobody drew it), and the
    region where dose is possible, if there is to be one. The image's geometry and applied operations stay, so that
    ``Invertd(orig_keys="image")`` works as before.

    Args:
        keys: image.
        contours_key: masks ``[structures, *spatial]`` on the image's grid: 0, 1, or NaN where nobody drew a structure.
        structures: names in the order of the masks.
        doses: target to its prescribed dose in Gy, such as ``{"PTV56": 56, "PTV70": 70}``.
        unit: Gy in one unit of the channel, the same as of the network's output. The highest of ``doses`` if None.
        organs: names of the organs that are given, in the order of the channels.
        region_key: mask ``[1, *spatial]`` of where dose is possible, on the image's grid; of several keys the first
            that the case has counts; None: no such channel.
        label_key: masks that a loss sees: what is given is left out of them, so that the rest is what a network
            predicts; None: they stay.

    Raises:
        ConfigError: when a name is no structure's, or no target is given.
        DataError: when a case has no target, or its contours or the region are not on the image's grid.

    """

    def __init__(
        self,
        keys: KeysCollection,
        contours_key: str,
        structures: Sequence[str],
        doses: Mapping[str, float],
        unit: float | None = None,
        organs: Sequence[str] = (),
        label_key: str | None = None,
        region_key: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__(keys)
        self.contours_key = contours_key
        self.region_keys = ensure_tuple(region_key) if region_key is not None else ()
        self.label_key = label_key
        self.organs = _positions(organs, structures)
        self.targets = _positions(doses, structures)
        if not doses or not all(isinstance(dose, (int, float)) and dose > 0 for dose in doses.values()):
            raise ConfigError(f"a prescribed dose above 0 Gy is needed for at least one target, got {dict(doses)}.")
        self.levels = [float(dose) / float(unit or max(doses.values())) for dose in doses.values()]
        self.rest = [k for k in range(len(list(structures))) if k not in {*self.targets, *self.organs}]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        contours = convert_to_tensor(d[self.contours_key], track_meta=False).nan_to_num(nan=0.0)
        if not (contours[self.targets] > 0.5).any():
            raise DataError(
                f"case {d.get('case', '?')} has no target: this network needs the targets that it predicts a dose for."
                " Add their contours, or take the network that finds targets by itself."
            )
        level = torch.zeros_like(contours[:1], dtype=torch.float32)
        for position, value in zip(self.targets, self.levels, strict=True):
            level = torch.maximum(level, (contours[position : position + 1] > 0.5) * value)
        masks = [contours[self.organs]]
        if self.region_keys:
            region = next((d[key] for key in self.region_keys if key in d), None)
            if region is None:
                raise DataError(f"case {d.get('case', '?')} has none of {', '.join(self.region_keys)}.")
            masks.append(convert_to_tensor(region, track_meta=False))
        for key in self.key_iterator(d):
            image = d[key]
            if wrong := [mask for mask in masks if mask.shape[1:] != image.shape[1:]]:
                raise DataError(
                    f"case {d.get('case', '?')}: contours of {tuple(wrong[0].shape[1:])} voxels, {key} of"
                    f" {tuple(image.shape[1:])}. Bring them to one grid."
                )
            added = torch.cat([level, *[(mask > 0.5).float() for mask in masks]]).to(image.device)
            plain = torch.cat([convert_to_tensor(image, track_meta=False).float(), added])
            d[key] = (
                MetaTensor(plain, meta=dict(image.meta), applied_operations=list(image.applied_operations))
                if isinstance(image, MetaTensor)
                else plain
            )
        if self.label_key is not None and self.label_key in d:
            d[self.label_key] = d[self.label_key][self.rest]
        return d


class KeepGivenContoursd(MapTransform):
    """Put given and predicted masks together, in the order of all structures.

    Args:
        keys: predicted masks ``[structures that were not given, *spatial]``, 0 or 1. Where the key is not there, as of
            a network that predicts a dose alone, the masks are those that were given, and 0 for the others.
        contours_key: masks of all structures on the same grid, NaN where nobody drew one: such a given mask is 0.
        structures: names of all, in the order of ``contours_key``.
        given: names of those that were given.

    Raises:
        ConfigError: when a name is no structure's, or there are more or fewer predicted masks than expected.

    """

    def __init__(
        self, keys: KeysCollection, contours_key: str, structures: Sequence[str], given: Sequence[str]
    ) -> None:
        super().__init__(keys)
        self.contours_key = contours_key
        self.given = _positions(given, structures)
        self.rest = [k for k in range(len(list(structures))) if k not in self.given]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        contours = d[self.contours_key]
        for key in self.keys:
            masks = (contours > 0.5).to(torch.uint8)  # of NaN this is 0
            masks[self.rest] = 0
            if key in d:
                predicted = convert_to_tensor(d[key], track_meta=False)
                if len(predicted) != len(self.rest):
                    raise ConfigError(f"{key} has {len(predicted)} masks; {len(self.rest)} structures were not given.")
                masks[self.rest] = predicted.to(masks)
            d[key] = masks
        return d


def _positions(names: Iterable[str], structures: Sequence[str]) -> list[int]:
    listed = list(structures)
    names = list(names)
    unknown = [name for name in names if name not in listed]
    if unknown:
        raise ConfigError(f"{', '.join(unknown)} cannot be given: the structures are {', '.join(listed)}.")
    return [listed.index(name) for name in names]
