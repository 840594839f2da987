# SPDX-License-Identifier: Apache-2.0
"""A patient as a folder of NIfTI files: ``ct.nii.gz``, ``dose.nii.gz`` and one mask a structure."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.utils import MetaKeys, SpaceKeys

from ctan_networks.data.nifti import nifti_header, read_nifti_array
from ctan_networks.errors import ConfigError, DataError
from ctan_networks.radiotherapy.sides import check_bits
from ctan_networks.reading import is_there, list_folder
from ctan_networks.transforms.masks import inside_mask

__all__ = ["is_nifti_patient", "other_volumes", "read_structure_bits"]

logger = logging.getLogger(__name__)

CT = "ct.nii.gz"
DOSE = "dose.nii.gz"


def is_nifti_patient(folder: Path) -> bool:
    """Whether a folder holds ``ct.nii.gz``."""
    return (folder / CT).is_file()


def other_volumes(folder: Path, structures: Iterable[str]) -> list[str]:
    """Names of the NIfTI files of a patient that are neither CT nor dose nor the mask of one of these structures.

    A mask under a name of its own, such as ``bladder.nii.gz`` for ``Bladder.nii.gz``, would be passed over without a
    word.
    """
    known = {CT, DOSE, *(f"{name}.nii.gz" for name in structures)}
    return sorted(p.name for p in list_folder(folder) if p.name.endswith((".nii", ".nii.gz")) and p.name not in known)


def read_structure_bits(folder: Path, structures: Sequence[str]) -> tuple[np.ndarray, dict[str, Any]]:
    """Read the masks ``<structure>.nii.gz`` of a patient.

    Masks may hold any one value above 0, and values between at their edges where they were resampled: those from the
    middle on are inside. A mask that was resampled until no voxel is inside counts as not there.

    Args:
        folder: the patient's.
        structures: names, in the order of the bits; at most 15.

    Returns:
        int16 bit field on the CT's grid (bit k is set where structure k lies), and metadata with "present", a list
        that says which structures have a file.

    Raises:
        ConfigError: for more than 15 structures.
        DataError: when a mask is not on the CT's grid, is none of one structure, or lies on the wrong side of the
            patient, or a file cannot be read.

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
        inside = _inside(file, array.reshape(bits.shape))
        if inside is None:
            logger.warning("%s: no voxel of the mask is inside by half or more: not drawn", file)
            present[-1] = False
            continue
        bits |= inside.astype(np.int16) << k
    try:
        check_bits(bits, structures, ct.affine, lambda: read_nifti_array(folder / CT)[0].reshape(bits.shape))
    except DataError as error:
        raise DataError(f"{folder}: {error}") from None
    meta = {
        MetaKeys.AFFINE: ct.affine,
        MetaKeys.ORIGINAL_AFFINE: ct.affine.copy(),
        MetaKeys.SPATIAL_SHAPE: np.array(bits.shape),
        MetaKeys.SPACE: SpaceKeys.RAS,
        MetaKeys.ORIGINAL_CHANNEL_DIM: "no_channel",
        "filename_or_obj": str(folder),
    }
    return bits, {str(key): value for key, value in meta.items()} | {"present": present}


def _inside(file: Path, array: np.ndarray) -> np.ndarray | None:
    """Which voxels are inside; None where values above 0 are there, and none is inside."""
    plain = array == 1
    if (plain | (array == 0)).all():
        return plain
    if array.dtype == np.int8:
        # 128 and more, as in masks of 0 and 255, became negative.
        array = array.astype(np.uint8)
    inside = inside_mask(torch.from_numpy(np.asarray(array, dtype=np.float32)), str(file)).numpy()
    return inside if inside.any() or not array.any() else None
