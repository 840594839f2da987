# SPDX-License-Identifier: Apache-2.0
"""Write a dose in the submission format of the OpenKBP challenge."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from ctan_networks.datasets.openkbp.files import GRID, write_sparse_csv
from ctan_networks.utils import case_name

__all__ = ["SaveSubmissiond"]


class SaveSubmissiond(MapTransform):
    """Write a dose as OpenKBP's submission file ``<output_dir>/submission/<case>.csv``, if the case is OpenKBP's.

    Args:
        keys: dose in Gy, ``[1, 128, 128, 128]`` on OpenKBP's grid.
        output_dir: folder of the results.
        image_key: the CT, whose file name tells where the case is from.
        allow_missing_keys: go on when a key is not there.

    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | os.PathLike,
        image_key: str = "image",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.folder = Path(output_dir) / "submission"
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        source = str(getattr(d[self.image_key], "meta", {}).get("filename_or_obj", ""))
        for key in self.key_iterator(d):
            dose = np.asarray(torch.as_tensor(d[key]).cpu())[0]
            if source.endswith(".csv") and dose.shape == GRID:
                write_sparse_csv(self.folder / f"{case_name(d)}.csv", dose)
        return d
