# SPDX-License-Identifier: Apache-2.0
"""Write the dense results of a picture: masks as PNG, maps of numbers as TIFF or NumPy arrays."""

from __future__ import annotations

import logging
import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from PIL import Image

from ctan_networks.utils import case_name, result_path

__all__ = ["SavePicturesd"]

logger = logging.getLogger(__name__)

INSIDE = 255


class SavePicturesd(MapTransform):
    """Write each task's result beside the others, in ``<output_dir>/<case>/``, as a viewer shows it (rows, columns).

    ======================  ===================================================================================
    of a segmentation       ``<case>_<task>.png``: 0 and 255 of one structure; of several a label map, k for the
                            k-th (a later one covers an earlier one), and ``<case>_<task>_<structure>.png`` each
    of a regression         ``<case>_<task>.tif``, 32-bit, of one channel; ``.npy`` of several
    ======================  ===================================================================================

    All but the pictures of single structures can be read as labels again.

    Args:
        keys: ``[channels, x, y]``, under ``predicted_<task>``; masks are 0 or 1.
        output_dir: folder of the results.
        structures: segmentation task to the names of its structures; the other tasks are regressions.
        allow_missing_keys: go on when a key is not there.

    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | os.PathLike,
        structures: Mapping[str, Sequence[str]] | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.output_dir = Path(output_dir)
        self.structures = {task: list(names) for task, names in (structures or {}).items()}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        name = case_name(d)
        written: dict[str, str] = {}
        for key in self.key_iterator(d):
            task = str(key).removeprefix("predicted_")
            values = np.asarray(torch.as_tensor(d[key]).cpu()).swapaxes(1, 2)
            start = self.output_dir / name / f"{name}_{task}"
            written[task] = str(self._masks(start, values, task) if task in self.structures else _map(start, values))
        logger.info("case %s: written to %s", name, self.output_dir / name)
        return {**d, "files": {**d.get("files", {}), **written}}

    def _masks(self, start: Path, masks: np.ndarray, task: str) -> Path:
        whole = start.with_name(f"{start.name}.png")
        inside = masks > 0.5
        if len(masks) == 1:
            _save(whole, inside[0] * INSIDE)
            return whole
        label = np.zeros(masks.shape[1:], np.uint8)
        for k, structure in enumerate(self.structures[task]):
            label[inside[k]] = k + 1
            _save(start.with_name(f"{start.name}_{structure.replace(' ', '_')}.png"), inside[k] * INSIDE)
        _save(whole, label)
        return whole


def _map(start: Path, values: np.ndarray) -> Path:
    if len(values) == 1:
        target = start.with_name(f"{start.name}.tif")
        with result_path(target) as path:
            Image.fromarray(values[0].astype(np.float32)).save(path)
        return target
    target = start.with_name(f"{start.name}.npy")
    with result_path(target) as path, open(path, "wb") as file:
        np.save(file, np.moveaxis(values, 0, -1).astype(np.float32))
    return target


def _save(target: Path, picture: np.ndarray) -> None:
    with result_path(target) as path:
        Image.fromarray(picture.astype(np.uint8)).save(path)
