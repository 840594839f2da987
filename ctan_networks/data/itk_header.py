# SPDX-License-Identifier: Apache-2.0
"""What a file says of its volume, asked of ITK before it reads any of it."""

from __future__ import annotations

import re
from math import prod
from pathlib import Path

from monai.utils import optional_import

from ctan_networks.data.metaimage import check_metaimage, refuse_outside
from ctan_networks.errors import DataError
from ctan_networks.reading import check_voxels, library_errors, require_file

__all__ = ["check_itk"]

METAIMAGE = (".mha", ".mhd")
NRRD = (".nrrd", ".nhdr")
# Headers that name a file with the data.
DETACHED = re.compile(rb"^data ?file: *(.*)$", re.MULTILINE | re.IGNORECASE)
SPACINGS = re.compile(rb"^(space directions|spacings):", re.MULTILINE | re.IGNORECASE)
MAX_HEADER = 1 << 16
# No compression that ITK reads makes more of one byte.
MAX_RATIO = 1032


def check_itk(path: Path) -> None:
    """Refuse a file whose header promises more than the file can hold, or more than is read.

    Where compressed data of a MetaImage is cut short or damaged, ITK gives what was in memory; so it is decompressed
    here, piece by piece.

    Args:
        path: the file.

    Raises:
        DataError: names the file, what is wrong and what to do.

    """
    size = require_file(path)
    suffix = path.suffix.lower()
    if suffix in METAIMAGE:
        check_metaimage(path, decompress=True)
    detached = suffix == ".mhd" or _names_another(path, suffix)
    itk, _ = optional_import("itk")  # MONAI's reader, which needs it too, was made before
    with library_errors(path):
        io = itk.ImageIOFactory.CreateImageIO(str(path), itk.CommonEnums.IOFileMode_ReadMode)
        if io is None:
            raise DataError(f"{path} is of no kind that ITK reads. Give NIfTI, MHA, NRRD or a folder of DICOM slices.")
        io.SetFileName(str(path))
        io.ReadImageInformation()
        shape = [int(io.GetDimensions(axis)) for axis in range(io.GetNumberOfDimensions())]
        voxel = int(io.GetNumberOfComponents()) * int(io.GetComponentSize())
    check_voxels(path, [*shape, max(1, int(io.GetNumberOfComponents()))])
    # A detached header's file with the data has been looked at, or is refused by ITK when it is too short.
    if not detached and size * MAX_RATIO < prod(shape) * voxel:
        raise DataError(f"{path} is cut short: it has {size} bytes for {shape} voxels. Get the file again.")


def _names_another(path: Path, suffix: str) -> bool:
    """Whether a NRRD header names a file with the data; refuses one outside of the header's folder.

    Raises:
        DataError: also where the header does not state the size of the voxels.

    """
    if suffix not in NRRD:
        return False
    with library_errors(path), path.open("rb") as file:
        head = file.read(MAX_HEADER).replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    if not head.startswith(b"NRRD"):
        raise DataError(f"{path} is no NRRD file. Get the file again.")
    named = DETACHED.search(head)
    if named is not None:
        refuse_outside(path, named[1].decode("utf-8", "replace").strip())
    if not SPACINGS.search(head):
        # ITK takes 1 mm, and all that is resampled or measured is wrong.
        raise DataError(f"{path}: the header states no size of the voxels (space directions). Write it again with it.")
    return named is not None
