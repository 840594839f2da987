# SPDX-License-Identifier: Apache-2.0
"""Structure masks: from a bit field to channels, mirrored with their partners, and painted into one label map."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import ensure_tuple

from ctan_networks.errors import ConfigError, DataError

__all__ = ["LabelMapd", "RandMirrorPatientd", "UnpackStructuresd", "structure_masks"]

ABSENT_RULES = ("unknown", "empty")
# Key that says that a case's structures come as a label map.
MAP_KEY = "label_map"


def structure_masks(volume: torch.Tensor, count: int, label_map: bool = False) -> Iterator[torch.Tensor]:
    """The mask of each structure, whatever form they are stored in.

    Args:
        volume: a mask a structure, ``[count, *spatial]``; or ``[1, *spatial]``, a bit field (bit k is set where
            structure k lies) or a label map (k + 1 where structure k lies).
        count: number of structures.
        label_map: whether one channel is a label map.

    Yields:
        ``[*spatial]`` bool, one a structure; False where one is unknown.

    """
    plain = torch.as_tensor(volume).as_subclass(torch.Tensor)
    if len(plain) > 1:
        yield from plain > 0.5
        return
    field = plain[0].to(torch.int32)
    for k in range(count):
        yield field == k + 1 if label_map else torch.bitwise_and(torch.bitwise_right_shift(field, k), 1).bool()


class UnpackStructuresd(MapTransform):
    """Spread a bit field, or a label map, of structures over channels.

    Args:
        keys: integer bit field ``[1, *spatial]``; bit k is set where structure k lies. Its meta entry ``present`` is a
            list of bool, one a structure; without it every structure counts as present. Where ``map_key`` of the case
            is true it is a label map: k + 1 where structure k lies, and a structure without a voxel is absent.
        structures: structure name to what its absence means: "unknown" (nobody contoured it: the channel is NaN) or
            "empty" (there is none, such as a target that was not prescribed: the channel is 0). The order is that of
            the bits and of the channels.
        allow_missing_keys: go on when a key is not there.
        map_key: key that says that the case's structures come as a label map.

    Raises:
        ConfigError: when a rule is neither of the two.
        DataError: when a label map has a value that no structure has, or one between two labels.

    """

    def __init__(
        self,
        keys: KeysCollection,
        structures: Mapping[str, str],
        allow_missing_keys: bool = False,
        map_key: str = MAP_KEY,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.map_key = map_key
        for name, rule in structures.items():
            if rule not in ABSENT_RULES:
                raise ConfigError(f"structure {name}: absence must mean one of {ABSENT_RULES}, got {rule!r}.")
        self.rules = list(structures.values())

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        d = dict(data)
        for key in self.key_iterator(d):
            bits = d[key]
            meta = dict(bits.meta) if isinstance(bits, MetaTensor) else {}
            present = meta.get("present", [True] * len(self.rules))
            field = torch.as_tensor(bits)[0].to(torch.int32)
            labels = bool(d.get(self.map_key))
            if labels and not torch.equal(torch.as_tensor(bits)[0].to(torch.float32), field.to(torch.float32)):
                raise DataError(
                    f"case {d.get('case', '?')}: the label map has values between its labels: it was resampled"
                    " smoothly. Resample it with nearest neighbours."
                )
            if labels:
                found = set(torch.unique(field).tolist()) - {0}
                present = [k + 1 in found for k in range(len(self.rules))]
                if max(found, default=0) > len(self.rules) or min(found, default=0) < 0:
                    raise DataError(
                        f"case {d.get('case', '?')}: the label map has the values {sorted(found)}; there are"
                        f" {len(self.rules)} structures, from 1."
                    )
            channels = torch.empty((len(self.rules), *field.shape), dtype=torch.float32)
            masks = structure_masks(field[None], len(self.rules), labels)
            for k, (rule, inside) in enumerate(zip(self.rules, masks, strict=True)):
                channels[k] = inside if present[k] else torch.nan if rule == "unknown" else 0.0
            d[key] = MetaTensor(channels, meta=meta)
        return d


class RandMirrorPatientd(RandomizableTransform, MapTransform):
    """Mirror a patient left to right: flip the volumes and exchange the channels of paired structures.

    Args:
        keys: volumes to flip, ``[channels, *spatial]``.
        label_keys: those of them whose channels are structures.
        structures: structure names in the order of the channels.
        pairs: pairs of names that change places, such as ``[["LeftParotid", "RightParotid"]]``.
        spatial_axis: the left-right axis.
        prob: probability of a flip.

    Raises:
        ConfigError: when a pair names a structure that is not there.

    """

    def __init__(
        self,
        keys: KeysCollection,
        label_keys: KeysCollection,
        structures: Sequence[str],
        pairs: Sequence[Sequence[str]],
        spatial_axis: int = 1,
        prob: float = 0.5,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys=True)
        RandomizableTransform.__init__(self, prob)
        names = list(structures)
        self.order = list(range(len(names)))
        for pair in pairs:
            if len(pair) != 2 or any(name not in names for name in pair):
                raise ConfigError(f"cannot exchange {list(pair)}: a pair names two of {', '.join(names)}.")
            left, right = (names.index(name) for name in pair)
            self.order[left], self.order[right] = right, left
        self.label_keys = set(ensure_tuple(label_keys))
        self.spatial_axis = spatial_axis

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        self.randomize(None)
        if not self._do_transform:
            return d
        for key in self.key_iterator(d):
            volume = d[key]
            flipped = torch.flip(volume, dims=[self.spatial_axis + 1])
            d[key] = flipped[self.order] if key in self.label_keys else flipped
        return d


class LabelMapd(MapTransform):
    """Paint overlapping structure masks into one integer label map.

    Args:
        keys: masks ``[structures, *spatial]``, 0 or 1.
        names: where each label map goes, one for each key.
        structures: structure names in the order of the channels; the label of the k-th is k + 1.
        painting_order: names in the order of painting; a later structure covers an earlier one.

    Raises:
        ConfigError: when the painting order is not made of exactly the structures.

    """

    def __init__(
        self,
        keys: KeysCollection,
        names: KeysCollection,
        structures: Sequence[str],
        painting_order: Sequence[str],
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.names = ensure_tuple(names)
        structures = list(structures)
        if sorted(painting_order) != sorted(structures):
            raise ConfigError(f"painting order {list(painting_order)} must name each of {structures} once.")
        self.order = [structures.index(name) for name in painting_order]

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        d = dict(data)
        for key, name in self.key_iterator(d, self.names):
            masks = d[key]
            label = torch.zeros_like(masks[:1], dtype=torch.uint8)
            for k in self.order:
                label[masks[k : k + 1] > 0.5] = k + 1
            d[name] = label
        return d
