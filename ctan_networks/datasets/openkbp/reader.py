# SPDX-License-Identifier: Apache-2.0
"""MONAI image reader for OpenKBP patients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data import ImageReader
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple

from ctan_networks.datasets.openkbp.files import (
    CT_OFFSET,
    GRID,
    STRUCTURES,
    affine,
    read_sparse_csv,
    read_sparse_voxels,
    read_voxel_dimensions,
)
from ctan_networks.errors import ConfigError, DataError
from ctan_networks.radiotherapy.sides import check_bits
from ctan_networks.reading import is_there

__all__ = ["OpenKBPReader"]

MASK = "possible_dose_mask"


class OpenKBPReader(ImageReader):
    """Read what an OpenKBP patient folder holds, for ``LoadImaged(reader=...)``.

    ============================================  ======================================================
    path                                          array ``[128, 128, 128]``, axes "PLI"
    ============================================  ======================================================
    ``pt_N/ct.csv``                               float32, HU
    ``pt_N/dose.csv``                             float32, Gy
    ``pt_N/possible_dose_mask.csv``               uint8, 0 or 1
    ``pt_N/<structure>.csv``                      uint8, 0 or 1
    ``pt_N`` (the folder)                         int16 bit field: bit k is set where structure k lies;
                                                  ``meta["present"][k]`` says whether it has a file
    any other ``*.csv``, such as a submission     float32, the file's values (Gy)
    ============================================  ======================================================

    The affine is made from the ``voxel_dimensions.csv`` beside the file. A prediction or submission has none: where
    it stands alone its voxels are taken to be 1 mm wide, since the file does not say; the orientation is right, and
    the spacing must be taken from the patient's CT.

    The file is opened in ``get_data``, not in ``read``: ``LoadImage`` hides what is raised in ``read`` and tries its
    other readers, whose complaints then bury the reason.

    Args:
        structures: names of the structures in the order of the bits, at most 15.

    Raises:
        ConfigError: for more than 15 structures.

    """

    def __init__(self, structures: Sequence[str] = STRUCTURES) -> None:
        super().__init__()
        self.structures = tuple(structures)
        if len(self.structures) > 15:
            raise ConfigError(f"a bit field of int16 holds at most 15 structures, got {len(self.structures)}.")

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """True for ``.csv`` files and for folders that hold ``ct.csv`` or a structure."""
        return all(self._is_ours(Path(name)) for name in ensure_tuple(filename))

    def _is_ours(self, path: Path) -> bool:
        if path.is_dir():
            return any((path / f"{name}.csv").is_file() for name in ("ct", *self.structures))
        return path.suffix.lower() == ".csv"

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> Path:
        """Return the path, to be read by :py:meth:`get_data`.

        Raises:
            DataError: for several paths at once.

        """
        paths = ensure_tuple(data)
        if len(paths) != 1:
            raise DataError(f"one path a volume is read, got {len(paths)}: {', '.join(str(p) for p in paths)}.")
        return Path(paths[0])

    def get_data(self, img: Path) -> tuple[np.ndarray, dict[str, Any]]:
        """Read the array and its metadata.

        Raises:
            DataError: when a file is missing or malformed, or a structure lies on the wrong side of the patient.

        """
        path = Path(img)
        extra: dict[str, Any] = {}
        if path.is_dir():
            if not self._is_ours(path):
                raise DataError(
                    f"{path} is a folder without ct.csv or a structure. Give an OpenKBP patient's folder, or a file."
                )
            array, extra["present"] = self._read_structures(path)
            self._check_sides(path, array)
        else:
            array = self._read_file(path)
        matrix = affine(self._voxel_dimensions(path))
        meta = {
            MetaKeys.AFFINE: matrix,
            MetaKeys.ORIGINAL_AFFINE: matrix.copy(),
            MetaKeys.SPATIAL_SHAPE: np.array(array.shape),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.ORIGINAL_CHANNEL_DIM: "no_channel",
            "filename_or_obj": str(path),
        }
        return array, {str(key): value for key, value in meta.items()} | extra

    def _read_structures(self, folder: Path) -> tuple[np.ndarray, list[bool]]:
        bits = np.zeros(math.prod(GRID), np.int16)
        present = []
        for k, name in enumerate(self.structures):
            file = folder / f"{name}.csv"
            present.append(is_there(file))
            if present[-1]:
                bits[read_sparse_voxels(file, values=False)[0]] |= 1 << k
        return bits.reshape(GRID), present

    def _check_sides(self, folder: Path, bits: np.ndarray) -> None:
        def read_ct() -> np.ndarray | None:
            file = folder / "ct.csv"
            return self._read_file(file) if file.is_file() else None

        try:
            check_bits(bits, self.structures, affine(self._voxel_dimensions(folder)), read_ct)
        except DataError as error:
            raise DataError(f"{folder}: {error}") from None

    def _read_file(self, path: Path) -> np.ndarray:
        if path.stem == "voxel_dimensions":
            raise DataError(
                f"{path} holds no volume. Give ct.csv, dose.csv, a structure's file or the patient's folder."
            )
        if path.stem == MASK or path.stem in self.structures or path.stem in STRUCTURES:
            return read_sparse_csv(path, values=False).reshape(GRID)
        index, values = read_sparse_voxels(path, values=True)
        offset = 0
        if path.stem == "ct":
            if not values.any():
                raise DataError(
                    f"{path} holds no voxel: a CT cannot be empty. Restore the file from the published data."
                )
            offset = CT_OFFSET
        array = np.full(math.prod(GRID), -offset, np.float32)
        # Subtracted in double precision, as the file has it.
        array[index] = values - offset
        return array.reshape(GRID)

    def _voxel_dimensions(self, path: Path) -> tuple[float, float, float]:
        folder = path if path.is_dir() else path.parent
        file = folder / "voxel_dimensions.csv"
        if is_there(file) or self._is_ours(folder):
            return read_voxel_dimensions(file)
        return 1.0, 1.0, 1.0
