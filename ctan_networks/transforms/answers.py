# SPDX-License-Identifier: Apache-2.0
"""Write a case's probabilities as the files that a challenge's container writes."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.utils import case_name, result_path

__all__ = ["SaveProbabilityJSONd"]

logger = logging.getLogger(__name__)


class SaveProbabilityJSONd(MapTransform):
    """Write one probability a file, as ``<output_dir>/<case>/<filename>``: the number alone, as JSON.

    With the file names ``probability-covid-19.json`` and ``probability-severe-covid-19.json`` these are the answers of
    the STOIC2021 challenge, which asks for both numbers of every patient.

    Args:
        keys: probabilities of the classes, ``[classes]``, after softmax.
        output_dir: folder of the results.
        filenames: name of the file, one for each key.
        index: the class whose probability is written.
        allow_missing_keys: go on when a key is not there.

    Raises:
        ConfigError: when there is not one file name for each key, or a name is that of a path.
        DataError: when a value is no probability; names the case.

    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | os.PathLike,
        filenames: Sequence[str] | str,
        index: int = 1,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.output_dir = Path(output_dir)
        self.filenames = (filenames,) if isinstance(filenames, str) else tuple(filenames)
        self.index = index
        if len(set(self.filenames)) != len(self.keys) or any(Path(name).name != name for name in self.filenames):
            raise ConfigError(
                f"SaveProbabilityJSONd: {len(self.keys)} keys {self.keys} need as many different file names without a"
                f" folder, got {self.filenames}."
            )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        folder = self.output_dir / case_name(d)
        written = []
        for key, filename in self.key_iterator(d, self.filenames):
            probability = self._probability(d, key)
            with result_path(folder / filename) as path:
                path.write_text(json.dumps(probability, allow_nan=False) + "\n", encoding="utf-8")
            written.append(f"{filename} {probability:.3f}")
        if written:
            logger.info("case %s: written to %s: %s", case_name(d), folder, ", ".join(written))
        return d

    def _probability(self, d: Mapping[Hashable, Any], key: Hashable) -> float:
        values = torch.as_tensor(d[key]).flatten().tolist()
        value = float(values[self.index]) if -len(values) <= self.index < len(values) else float("nan")
        # Rounding of a softmax in half precision may go a little over.
        if not -1e-3 <= value <= 1 + 1e-3:
            raise DataError(
                f"case {d.get('case', '?')}: {key} has no probability at {self.index}: {values[:8]}. It needs a softmax"
                " before, and no NaN in image and weights."
            )
        return min(max(value, 0.0), 1.0)
