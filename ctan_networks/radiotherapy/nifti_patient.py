# SPDX-License-Identifier: Apache-2.0
"""A patient as a folder of NIfTI files: ``ct.nii.gz``, ``dose.nii.gz`` and one mask a structure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.utils import MetaKeys, SpaceKeys

from ctan_networks.data.nifti import nifti_header, read_nifti_array
from ctan_networks.errors import ConfigError, DataError
from ctan_networks.reading import is_there

__all__ = ["is_nifti_patient", "read_structure_bits"]

CT = "ct.nii.gz"
DOSE = "dose.nii.gz"


def is_nifti_patient(folder: Path) -> bool:
    """Whether a folder holds ``ct.nii.gz``."""
    return (folder / CT).is_file()


def read_structure_bits(folder: Path, structures: Sequence[str]) -> tuple[np.ndarray, dict[str, Any]]:
    """Read the masks ``<structure>.nii.gz`` of a patient.

    Args:
        folder: the patient's.
        structures: names, in the order of the bits; at most 15.

    Returns:
        int16 bit field on the CT's grid (bit k is set where structure k lies), and metadata with "present", a list
        that says which structures have a file.

    Raises:
        ConfigError: for more than 15 structures.
        DataError: when a mask is not on the CT's grid, or a file cannot be read.

    """
    if len(structures) > 15:
        raise ConfigError(f"a bit field of int16 holds at most 15 structures, got {len(structures)}.")
    ct = nifti_header(folder / CT)
    bits = np.zeros(ct.shape[:3], np.int16)
    present = []
    for k, name in enumerate(structures):
        file = folder / f"{name}.nii.gz"
        present.append(is_there(file))
        if not present[-1]:
            continue
        array, mask = read_nifti_array(file)
        if mask.shape[:3] != ct.shape[:3] or not np.allclose(mask.affine, ct.affine, atol=1e-2):
            raise DataError(f"{file} is not on the grid of {CT} beside it. Resample the mask to the CT's grid.")
        bits |= (array.reshape(bits.shape) > 0).astype(np.int16) << k
    meta = {
        MetaKeys.AFFINE: ct.affine,
        MetaKeys.ORIGINAL_AFFINE: ct.affine.copy(),
        MetaKeys.SPATIAL_SHAPE: np.array(bits.shape),
        MetaKeys.SPACE: SpaceKeys.RAS,
        MetaKeys.ORIGINAL_CHANNEL_DIM: "no_channel",
        "filename_or_obj": str(folder),
    }
    return bits, {str(key): value for key, value in meta.items()} | {"present": present}
