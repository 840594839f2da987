# SPDX-License-Identifier: Apache-2.0
"""From a network's output to one named volume or vector for each task."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from monai.utils import convert_to_tensor

from ctan_networks.blocks.stacking import split_stacked
from ctan_networks.errors import DataError

__all__ = ["SameGridd", "SplitOutputsd"]


class SplitOutputsd(Transform):
    """Give each task's output, and its label where there is one, a key of its own.

    ``pred`` (a dictionary, or one case of the stacked tensor) becomes ``predicted_<task>``, each entry of ``label`` (a
    dictionary) becomes ``reference_<entry>``; ``<task>_uncertainty`` goes the way of its task. Without ``pred``
    (predictions from disk) the labels alone are spread.
    Dense outputs carry the geometry and the applied operations of the image, so that
    ``Invertd(orig_keys="image")`` brings them back to its grid: MONAI's ``decollate_batch`` loses the metadata of
    tensors in a dictionary.

    Args:
        tasks: the network's task list.
        keys: key of the output.
        label_key: key of the labels.
        image_key: key of the network's input.

    """

    def __init__(
        self,
        tasks: Mapping[str, Mapping[str, Any]],
        keys: str = "pred",
        label_key: str = "label",
        image_key: str = "image",
    ) -> None:
        self.tasks = tasks
        self.key = keys
        self.label_key = label_key
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        image = d[self.image_key]
        pred = d.get(self.key, {})
        if not isinstance(pred, Mapping):
            pred = split_stacked(pred, self.tasks, channel_dim=0)
        for task, spec in self.tasks.items():
            for name in (task, f"{task}_uncertainty"):
                if name not in pred:
                    continue
                value = convert_to_tensor(pred[name].detach(), track_meta=False)
                if spec["kind"] != "classification" and isinstance(image, MetaTensor):
                    value = MetaTensor(
                        value.float(), meta=dict(image.meta), applied_operations=list(image.applied_operations)
                    )
                d[f"predicted_{name}"] = value
        labels = d.get(self.label_key)
        if isinstance(labels, Mapping):
            d.update({f"reference_{entry}": value for entry, value in labels.items()})
        return d


class SameGridd(MapTransform):
    """Give volumes that carry no geometry of their own (a challenge's prediction file) that of another volume.

    Args:
        keys: volumes ``[channels, *spatial]``.
        like: key of the volume whose geometry they get.
        allow_missing_keys: go on when a key is not there.

    Raises:
        DataError: when the sizes differ.

    """

    def __init__(self, keys: KeysCollection, like: str, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.like = like

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        other = d[self.like]
        for key in self.key_iterator(d):
            volume = convert_to_tensor(d[key], track_meta=False)
            if volume.shape[1:] != other.shape[1:]:
                raise DataError(
                    f"case {d.get('case', '?')}: {key} has the size {tuple(volume.shape[1:])}, {self.like}"
                    f" {tuple(other.shape[1:])}; bring both to one grid."
                )
            d[key] = MetaTensor(volume, meta=dict(other.meta))
        return d
