# SPDX-License-Identifier: Apache-2.0
"""A case's results in numbers: a dictionary that MONAI Label answers with and ``bundle run`` writes as JSON."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from monai.utils import ensure_tuple_rep

from ctan_networks.errors import ConfigError
from ctan_networks.utils import case_name, result_path
from ctan_networks.workflow import trained_on

__all__ = ["RESULT", "ProbabilitySummaryd", "SaveSummaryd"]

logger = logging.getLogger(__name__)

# MONAI Label sends the dictionary under this key back to its client.
RESULT = "result"
NOTICE = "Research use only. Not for diagnosis, treatment or planning."
PHANTOM_NOTICE = "These weights were trained on phantoms. They know nothing about patients."


class ProbabilitySummaryd(MapTransform):
    """Note each class's probability: ``result[<task>]`` with ``prediction`` and ``probabilities``.

    Args:
        keys: probabilities ``[classes]`` after softmax, under ``predicted_<task>``.
        classes: names of the classes; a list for all keys, or one list a key.
        allow_missing_keys: go on when a key is not there.

    Raises:
        ConfigError: when there are other numbers of names and probabilities.

    """

    def __init__(
        self, keys: KeysCollection, classes: Sequence[str] | Sequence[Sequence[str]], allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        one_list = bool(classes) and isinstance(classes[0], str)
        self.classes: tuple[Any, ...] = (
            ensure_tuple_rep([tuple(classes)], 1) * len(self.keys) if one_list else tuple(classes)
        )
        if len(self.classes) != len(self.keys):
            raise ConfigError(f"{len(self.keys)} tasks {self.keys} need as many lists of class names, got {classes}.")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key, names in self.key_iterator(d, self.classes):
            values = [plain(value) for value in torch.as_tensor(d[key]).flatten()]
            if len(values) != len(names):
                raise ConfigError(f"{key} has {len(values)} probabilities for the classes {', '.join(names)}.")
            best = max(range(len(names)), key=lambda k: values[k] or 0.0)
            task = str(key).removeprefix("predicted_")
            d = note(d, {task: {"prediction": names[best], "probabilities": dict(zip(names, values, strict=True))}})
        return d


class SaveSummaryd(Transform):
    """Say what the weights are and what they are not for, and write ``<case>_result.json``.

    Without anything noted by the transforms before, it does nothing.

    Args:
        output_dir: folder of the results.
        checkpoint: the weights, for :py:func:`ctan_networks.workflow.trained_on`. It is asked for each case: MONAI
            Label exchanges the weights of a bundle that it has loaded when it trains.
        bundle_root: the bundle's folder.
        flat: write into ``output_dir`` itself, not into a folder for each case.

    """

    def __init__(
        self,
        output_dir: str | os.PathLike,
        checkpoint: str | os.PathLike,
        bundle_root: str | os.PathLike,
        flat: bool = False,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.checkpoint = checkpoint
        self.bundle_root = bundle_root
        self.flat = flat

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        if not d.get(RESULT):
            return d
        weights = trained_on(self.checkpoint, self.bundle_root)
        notice = NOTICE if weights != "phantom" else f"{PHANTOM_NOTICE} {NOTICE}"
        d = note(d, {"weights": weights, "notice": notice})
        name = case_name(d)
        folder = self.output_dir if self.flat else self.output_dir / name
        with result_path(folder / f"{name}_result.json") as path:
            path.write_text(json.dumps(d[RESULT], indent=4, allow_nan=False) + "\n", encoding="utf-8")
        return d


def note(d: dict[Hashable, Any], entries: Mapping[str, Any]) -> dict[Hashable, Any]:
    """The data with more entries in its result; the dictionary that came in is left as it was."""
    return {**d, RESULT: {**(d.get(RESULT) or {}), **entries}}


def plain(value: Any) -> float | None:
    """A number as JSON holds it: a Python float of four decimals, None for what is not finite."""
    number = float(value)
    return round(number, 4) if math.isfinite(number) else None
