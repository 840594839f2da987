# SPDX-License-Identifier: Apache-2.0
"""NIfTI files with nibabel, checked against their size before memory is asked for, and against their checksum after."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from monai.data import NibabelReader

from ctan_networks.errors import DataError
from ctan_networks.reading import (
    check_finite,
    check_geometry,
    check_voxels,
    geometry_alone,
    library_errors,
    require_file,
)

if TYPE_CHECKING:
    import nibabel as nib

__all__ = ["nifti_header", "read_nifti", "read_nifti_array"]

ADVICE = "Get the file again."
# Deflate makes no more than this of one byte (zlib's technical notes).
MAX_RATIO = 1032
# What may follow the volume in a compressed file.
MAX_TRAILING = 1 << 24
CHUNK = 1 << 20


def nifti_header(path: Path, channels: bool = False) -> nib.Nifti1Image:
    """Open a NIfTI volume without reading its voxels.

    Args:
        path: the file.
        channels: whether there may be further axes behind the three of the volume.

    Raises:
        DataError: when it is no NIfTI volume of three dimensions, is cut short, or its header makes no sense.

    """
    import nibabel as nib

    size = require_file(path)
    with library_errors(path, "Check that the file is whole."):
        image = nib.load(path)
    if not isinstance(image, nib.Nifti1Image):
        raise DataError(f"{path} is no NIfTI file, but {type(image).__name__}. Convert it to NIfTI.")
    shape = tuple(int(n) for n in image.shape)
    if len(shape) < 3 or (not channels and any(n != 1 for n in shape[3:])):
        raise DataError(f"{path} has {len(shape)} dimensions {shape}: give one volume of three dimensions.")
    check_voxels(path, shape)
    dtype = image.get_data_dtype()
    if dtype.kind not in "iuf":
        raise DataError(f"{path} holds colours or complex numbers ({dtype}): give a volume of one number a voxel.")
    offset = int(image.dataobj.offset)  # type: ignore[attr-defined]
    needed = offset + prod(shape) * dtype.itemsize
    if size * (MAX_RATIO if _is_compressed(path) else 1) < needed:
        raise DataError(f"{path} is cut short: its header says {needed} bytes, and it has {size}. {ADVICE}")
    check_geometry(path, image.affine, shape)
    return image


def read_nifti_array(path: Path) -> tuple[np.ndarray, nib.Nifti1Image]:
    """Read the voxels of a NIfTI volume, and its header.

    Raises:
        DataError: see :py:func:`nifti_header`; and where values are not finite, or compressed data is damaged.

    """
    with _whole(path) as image:
        with library_errors(path):
            array = np.asanyarray(image.dataobj)
        check_finite(path, array)
    return array, image


def read_nifti(path: Path, channels: bool = False, finite: bool = True) -> tuple[np.ndarray, dict[str, Any]]:
    """Read a NIfTI volume as :py:class:`monai.data.NibabelReader` does.

    Args:
        path: the file.
        channels: whether there may be further axes behind the three of the volume.
        finite: refuse values that are not finite.

    Returns:
        The array ``[x, y, z]``, with ``channels`` also ``[x, y, z, ...]``, and MONAI's metadata, as far as it is
        geometry.

    Raises:
        DataError: see :py:func:`read_nifti_array`.

    """
    reader = NibabelReader(squeeze_non_spatial_dims=True)
    with _whole(path, channels) as image:
        with library_errors(path):
            # What its read() does, on a stream of ours; but the affine is the header's, whatever pixdim says. MONAI's
            # correct_nifti_header_if_necessary takes qform where sform has other voxels, and results would lie beside
            # the image in every viewer.
            reader.filenames = (str(path),)
            array, meta = reader.get_data(image)
        if finite:
            check_finite(path, array)
    return array, geometry_alone(meta)


@contextmanager
def _whole(path: Path, channels: bool = False) -> Iterator[nib.Nifti1Image]:
    """The image, to be read; afterwards a compressed file must end, with the right checksum.

    nibabel stops reading where the volume ends, and does not see the checksum behind it.
    """
    from nibabel.fileholders import FileHolder

    image = nifti_header(path, channels)
    if not _is_compressed(path):
        yield image
        return
    with library_errors(path):
        opened = gzip.open(path)  # noqa: SIM115  closed below
    with opened as stream:
        with library_errors(path):
            again = type(image).from_file_map({"image": FileHolder(str(path), stream)})
        yield again
        with library_errors(path, ADVICE):
            rest = 0
            while block := stream.read(CHUNK):
                rest += len(block)
                if rest > MAX_TRAILING:
                    raise DataError(f"{path}: more than {MAX_TRAILING} bytes follow its volume. {ADVICE}")


def _is_compressed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")
