# SPDX-License-Identifier: Apache-2.0
"""Write a case's volumes as NIfTI."""

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

from ctan_networks.utils import case_name, result_path

__all__ = ["SaveCased"]

logger = logging.getLogger(__name__)


def as_nifti_lays_it_out(volume: np.ndarray) -> np.ndarray:
    """A channel-first volume with the channels last, its memory in the order of a NIfTI file: first axis fastest.

    Args:
        volume: ``[C, x, y, z]``.

    Returns:
        The same values, ``[x, y, z, C]``.

    """
    # In three steps, of which each moves whole rows or turns one small plane: turned in one, nearly every voxel is
    # fetched from memory anew, at six times the time.
    planes = np.ascontiguousarray(volume.transpose(0, 2, 1, 3))
    turned = np.ascontiguousarray(planes.transpose(0, 1, 3, 2))
    return np.ascontiguousarray(turned.transpose(0, 2, 1, 3)).transpose(3, 2, 1, 0)


class SaveCased(MapTransform):
    """Write volumes as ``<output_dir>/<case>/<case>_<postfix>.nii.gz`` on the grid that they have.

    MONAI's ``SaveImaged`` names a file after the image it came from; OpenKBP's are all called ``ct.csv``. The files are
    those of MONAI's ``NibabelWriter`` byte for byte, which brings the memory into another order than the file's, at
    several times the time. They are written into a temporary file that is then renamed.

    Args:
        keys: volumes ``[channels, *spatial]``; several channels become the last axis of the NIfTI.
        output_dir: folder of the results.
        postfixes: end of the file's name, one for each key.
        dtypes: NumPy dtype of the file, one for each key.
        allow_missing_keys: go on when a key is not there.

    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | os.PathLike,
        postfixes: Sequence[str],
        dtypes: Sequence[str],
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.output_dir = Path(output_dir)
        self.postfixes = tuple(postfixes)
        self.dtypes = tuple(dtypes)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        import nibabel

        d = dict(data)
        name = case_name(d)
        written = {}
        for key, postfix, dtype in self.key_iterator(d, self.postfixes, self.dtypes):
            volume = d[key]
            array = torch.as_tensor(volume).detach().as_subclass(torch.Tensor).cpu().numpy()
            array = as_nifti_lays_it_out(array.astype(dtype, copy=False))
            affine = np.asarray(volume.affine)
            image = nibabel.Nifti1Image(array[..., 0] if array.shape[-1] == 1 else array, affine)
            # "Scanner anatomical", as MONAI writes it.
            image.set_qform(affine, 1)
            image.set_sform(affine, 1)
            target = self.output_dir / name / f"{name}_{postfix}.nii.gz"
            with result_path(target) as path:
                nibabel.save(image, path)
            written[postfix] = str(target)
        logger.info("case %s: written to %s", name, self.output_dir / name)
        return {**d, "files": {**d.get("files", {}), **written}}
