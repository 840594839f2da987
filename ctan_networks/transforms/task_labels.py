# SPDX-License-Identifier: Apache-2.0
"""Labels of tasks as files hold them: on the image's grid, label maps or channels."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from ctan_networks.errors import ConfigError, DataError, refuse_unknown
from ctan_networks.transforms.masks import inside_mask

__all__ = ["CheckLabelsd", "StructureChannelsd"]

RULES = ("empty", "unknown")
# Headers that differ by less than this, in mm at each corner, were rounded.
TOLERANCE = 0.1


class CheckLabelsd(MapTransform):
    """Refuse a label that lies on another grid than the image, or has another number of channels.

    Args:
        keys: labels ``[channels, *spatial]``.
        channels: key to the numbers of channels that it may have.
        like: key of the image.
        allow_missing_keys: go on when a key is not there.

    Raises:
        DataError: names the label and both sizes; the data set adds the case.

    """

    def __init__(
        self,
        keys: KeysCollection,
        channels: Mapping[str, Any],
        like: str = "image",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        refuse_unknown(channels, self.keys, "CheckLabelsd, channels")
        self.channels = {key: tuple(np.atleast_1d(numbers).tolist()) for key, numbers in channels.items()}
        self.like = like

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        image = d[self.like]
        for key in self.key_iterator(d):
            label = d[key]
            if label.shape[1:] != image.shape[1:]:
                raise DataError(
                    f"the label {key} has the size {tuple(label.shape[1:])}, the image"
                    f" {tuple(image.shape[1:])}. Bring the label to the image's grid."
                )
            allowed = self.channels.get(str(key), (len(label),))
            if len(label) not in allowed:
                raise DataError(
                    f"the label {key} has {len(label)} channels, {' or '.join(map(str, allowed))} are"
                    " wanted, on the last axis of the file."
                )
            if isinstance(label, MetaTensor) and isinstance(image, MetaTensor):
                _same_place(label, image, f"the label {key}")
        return d


class StructureChannelsd(MapTransform):
    """Spread a segmentation's label over one channel a structure.

    A label of one channel is a map: k where the k-th structure lies, 0 elsewhere. A label of several channels has a
    mask for each structure; so has that of a single structure. In a mask the one value above 0 is inside, whatever it
    is; see :py:func:`ctan_networks.transforms.masks.inside_mask`. NaN stays NaN: unknown.

    Args:
        keys: labels ``[1, *spatial]`` or ``[structures, *spatial]``.
        structures: key to its structures, name to what it means that a case has no voxel of it: "empty" (there is none)
            or "unknown" (nobody drew it: the channel is NaN). The order is that of the labels and the channels.
        foreground_key: where a mask of all structures of all keys goes, ``[1, *spatial]``, for a crop that wants some
            of each; None: nowhere. Where nothing is drawn or everything is, every second voxel counts, so that such a
            crop takes any window, and does not warn for each.
        like: key of the image, whose size the mask has.
        allow_missing_keys: go on when a key is not there.

    Raises:
        ConfigError: when a rule is neither of the two.
        DataError: when a map has a value that is no structure's, or a mask has several labels.

    """

    def __init__(
        self,
        keys: KeysCollection,
        structures: Mapping[str, Mapping[str, str]],
        foreground_key: str | None = None,
        like: str = "image",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        refuse_unknown(self.keys, structures, "StructureChannelsd, structures")
        for key, rules in structures.items():
            for name, rule in rules.items():
                if rule not in RULES:
                    raise ConfigError(f"structure {name} of {key}: choose one of {', '.join(RULES)}, not {rule!r}.")
        self.structures = structures
        self.foreground_key = foreground_key
        self.like = like

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        drawn = []
        for key in self.key_iterator(d):
            channels = self._spread(d[key], self.structures[str(key)], f"the label {key}")
            drawn.append((channels > 0.5).any(0, keepdim=True))
            d[key] = MetaTensor(channels, meta=dict(d[key].meta)) if isinstance(d[key], MetaTensor) else channels
        if self.foreground_key is not None:
            nothing = torch.zeros((1, *d[self.like].shape[1:]), dtype=torch.bool)
            foreground = torch.stack([nothing, *drawn]).any(0)
            if not foreground.any() or foreground.all():
                foreground.view(-1)[::2] = ~foreground.view(-1)[::2]
            d[self.foreground_key] = foreground.to(torch.uint8)
        return d

    def _spread(self, label: Any, rules: Mapping[str, str], where: str) -> torch.Tensor:
        values = torch.as_tensor(label).as_subclass(torch.Tensor).float()
        unknown = values.isnan()
        if len(values) == 1 and len(rules) > 1:
            found = torch.unique(values[~unknown])
            strange = [f"{v:g}" for v in found.tolist() if not 0 <= v <= len(rules) or v != int(v)]
            if strange:
                raise DataError(
                    f"{where} has the values {', '.join(strange[:5])}: a label map holds 0 and 1 to {len(rules)}"
                    f" ({', '.join(rules)})."
                )
            channels = torch.stack([(values[0] == k + 1).float() for k in range(len(rules))])
            unknown = unknown.expand_as(channels)
        elif len(values) == len(rules):
            named = [f"{where} ({name})" for name in rules]
            channels = torch.stack([inside_mask(v, name) for v, name in zip(values, named, strict=True)]).float()
        else:
            raise DataError(f"{where} has {len(values)} channels for {len(rules)} structures.")
        channels[unknown] = torch.nan
        for k, rule in enumerate(rules.values()):
            if rule == "unknown" and not bool((channels[k] > 0.5).any()):
                channels[k] = torch.nan
        return channels


def _same_place(label: MetaTensor, image: MetaTensor, what: str) -> None:
    sides = np.array(np.meshgrid(*[(0, side - 1) for side in image.shape[1:]])).reshape(image.ndim - 1, -1)
    dims = image.ndim - 1
    places = [(np.asarray(v.affine)[:dims, :dims] @ sides + np.asarray(v.affine)[:dims, -1:]) for v in (label, image)]
    apart = float(np.abs(places[0] - places[1]).max())
    if apart > TOLERANCE:
        raise DataError(
            f"{what} lies up to {apart:.1f} mm away from the image by the headers of the two files. Resample the label"
            " onto the image, or correct the header that is wrong."
        )
