# SPDX-License-Identifier: Apache-2.0
"""Images and label maps of any data set: volumes of one or several channels, pictures, and arrays of NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data import ImageReader
from monai.utils import MetaKeys

from ctan_networks.data.mask_reader import MaskReader
from ctan_networks.data.nifti import read_nifti
from ctan_networks.data.photo_reader import PhotoReader, open_picture, picture_meta
from ctan_networks.datasets.case_reader import CaseReader
from ctan_networks.errors import ConfigError, DataError
from ctan_networks.radiotherapy.hounsfield import as_hounsfield
from ctan_networks.reading import check_finite, check_voxels, library_errors, require_file

__all__ = ["TaskReader"]


class TaskReader(ImageReader):
    """Read an image, or a label map, for ``LoadImaged(reader=...)``.

    ================================  =============================================================================
    file                              read by
    ================================  =============================================================================
    ``.nii``, ``.nii.gz``             nibabel; a fourth axis holds the channels
    other volumes, DICOM folders      :py:class:`ctan_networks.datasets.case_reader.CaseReader`; one channel
    pictures (2D)                     of an image :py:class:`ctan_networks.data.PhotoReader`, of a segmentation
                                      :py:class:`ctan_networks.data.MaskReader`, of a map Pillow: values as stored
    ``.npy`` (2D)                     NumPy: rows and columns as in a picture, then channels
    ================================  =============================================================================

    Args:
        spatial_dims: 2 or 3.
        channels: of an image: pictures are turned into grey ones (1) or RGB (3), other files must have as many. None
            for a label: a file of any number of channels.
        structures: of a segmentation: the number of its structures. None for a map of values.

    Raises:
        ConfigError: when pictures are asked for that have neither one nor three channels.

    """

    def __init__(self, spatial_dims: int = 3, channels: int | None = None, structures: int | None = None) -> None:
        super().__init__()
        if spatial_dims not in (2, 3):
            raise ConfigError(f"spatial_dims must be 2 or 3, got {spatial_dims!r}.")
        self.spatial_dims = spatial_dims
        self.channels = channels
        self.pictures: ImageReader | None = None
        if spatial_dims == 2 and channels is not None:
            self.pictures = PhotoReader(channels)
        elif structures is not None:
            self.pictures = MaskReader(structures)

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """True: whether a path can be read turns out by its content."""
        return True

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> Path:
        """Return the path, to be read by :py:meth:`get_data`."""
        if isinstance(data, list | tuple):
            if len(data) != 1:
                raise DataError(f"give one file a case with its channels on the last axis, not {len(data)} files.")
            data = data[0]
        return Path(data)  # type: ignore[arg-type]

    def get_data(self, img: Path) -> tuple[np.ndarray, dict[str, Any]]:
        """Read the array ``[*spatial]`` or ``[*spatial, channels]`` and its metadata.

        Raises:
            DataError: when the path cannot be read, or has other axes or channels; names it.

        """
        path = Path(img)
        array, meta = self._volume(path) if self.spatial_dims == 3 else self._picture(path)
        if array.ndim not in (self.spatial_dims, self.spatial_dims + 1):
            raise DataError(
                f"{path} has the shape {tuple(array.shape)}: give {self.spatial_dims} axes, and one more for channels."
            )
        found = array.shape[-1] if array.ndim > self.spatial_dims else 1
        if self.channels is not None and found != self.channels:
            raise DataError(f"{path} has {found} channels, the network takes {self.channels} (in_channels).")
        channel: int | str = -1 if array.ndim > self.spatial_dims else "no_channel"
        return array, {**meta, str(MetaKeys.ORIGINAL_CHANNEL_DIM): channel}

    def _volume(self, path: Path) -> tuple[np.ndarray, dict[str, Any]]:
        if not path.name.lower().endswith((".nii", ".nii.gz")):
            array, meta = CaseReader().get_data(path)
            # DICOM is read where it is a CT; of other files it is not known what they show.
            return as_hounsfield(array, path) if path.is_dir() else array, meta
        # A label map's NaN is a voxel whose label is unknown.
        array, meta = read_nifti(path, channels=True, finite=self.channels is not None)
        # NIfTI keeps the fourth axis for time: vectors have theirs behind it.
        return (array[:, :, :, 0] if array.ndim == 5 and array.shape[3] == 1 else array), meta

    def _picture(self, path: Path) -> tuple[np.ndarray, dict[str, Any]]:
        if path.suffix.lower() == ".npy":
            array = self._array(path)
            return np.swapaxes(array, 0, 1), {str(MetaKeys.SPATIAL_SHAPE): np.array(array.shape[1::-1])}
        if self.pictures is not None:
            return self.pictures.get_data(path)
        picture = open_picture(path)
        with library_errors(path):
            return np.swapaxes(np.asarray(picture.image), 0, 1), picture_meta(picture)

    def _array(self, path: Path) -> np.ndarray:
        require_file(path)
        with library_errors(path):
            # Mapped, its header's size is compared with the file's before memory is asked for.
            stored = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(stored, np.ndarray) or stored.dtype.kind not in "biuf":
            raise DataError(f"{path} holds no array of numbers ({getattr(stored, 'dtype', 'an archive')}).")
        if stored.ndim < 2:
            raise DataError(f"{path} has the shape {stored.shape}: give rows and columns.")
        check_voxels(path, stored.shape)
        array = np.array(stored)
        if self.channels is not None:
            check_finite(path, array)
        return array
