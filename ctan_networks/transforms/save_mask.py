# SPDX-License-Identifier: Apache-2.0
"""Write the masks of photographs as PNG."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from PIL import Image

from ctan_networks.errors import DataError
from ctan_networks.utils import case_name, result_path

__all__ = ["SaveMaskd"]


class SaveMaskd(MapTransform):
    """Write the mask of a photograph as ``<output_dir>/<case>_<postfix>.png``, one grey channel of 0 and 255.

    Args:
        keys: 0/1 mask ``[1, x, y]``, axes as MONAI's PIL reader gives them.
        output_dir: folder of the results.
        postfix: end of the file's name.
        allow_missing_keys: go on when a key is not there.

    Raises:
        DataError: when a mask has more than one channel.

    """

    def __init__(
        self, keys: KeysCollection, output_dir: str | os.PathLike, postfix: str, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.output_dir = Path(output_dir)
        self.postfix = postfix

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            mask = np.asarray(torch.as_tensor(d[key]).cpu())
            if mask.ndim != 3 or len(mask) != 1:
                raise DataError(f"case {d.get('case', '?')}: a PNG holds one mask [1, x, y], not {list(mask.shape)}.")
            with result_path(self.output_dir / f"{case_name(d)}_{self.postfix}.png") as path:
                Image.fromarray(((mask[0].T > 0) * 255).astype(np.uint8)).save(path)
        return d
