# SPDX-License-Identifier: Apache-2.0
"""Photographs and masks from JPG, PNG and whatever else Pillow opens, upright and with the channels asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data import PILReader
from PIL import Image, ImageOps

from ctan_networks.errors import DataError
from ctan_networks.reading import library_errors, require_file

__all__ = ["PhotoReader", "open_photo", "open_picture"]

# Fewer pixels a side hold no lesion; it is a broken export or a placeholder.
MIN_SIDE = 16
# Larger than any camera's. Pillow itself refuses twice as many as its own limit, which is 179 million.
MAX_PIXELS = 150_000_000
# What cameras and editors write. Pillow reads more, some of it (EPS) with other programs.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "JPEG2000", "PPM")
ADVICE = "Fetch it again, or leave it out."


def open_picture(path: PathLike) -> Image.Image:
    """Open and decode a picture with the values that are stored.

    Args:
        path: the file.

    Raises:
        DataError: when the file is not there, is no image, is cut short, too large or too small; names it.

    """
    require_file(path, ADVICE)
    # Pillow raises a dozen kinds, among them SyntaxError and struct.error for broken PNG and TIFF.
    with library_errors(path, ADVICE):
        with Image.open(path, formats=FORMATS) as stored:
            _check_size(path, stored.size)
            if stored.format == "PNG":
                # Checksums, which decoding does not look at. It leaves the file at its end.
                stored.verify()
        with Image.open(path, formats=FORMATS) as stored:
            stored.load()
            # Not a copy, which loses the orientation that a TIFF file names.
            picture = stored
    if min(picture.size) < MIN_SIDE:
        raise DataError(
            f"{path} has only {picture.width} x {picture.height} pixels, at least {MIN_SIDE} a side are needed. Fetch"
            " it again, or leave it out."
        )
    return picture


def open_photo(path: PathLike, mode: str = "RGB") -> Image.Image:
    """Open and decode an image as a viewer shows it.

    The camera's EXIF rotation is applied, an alpha channel dropped, and palettes, grey and CMYK images are converted.

    Args:
        path: the file.
        mode: "RGB", or "L" (one grey channel) for a mask.

    Raises:
        DataError: see :py:func:`open_picture`.

    """
    picture = open_picture(path)
    with library_errors(path, ADVICE):
        return ImageOps.exif_transpose(picture).convert(mode)


def _check_size(path: PathLike, size: tuple[int, int]) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise DataError(
            f"{path} has {size[0]} x {size[1]} pixels; at most {MAX_PIXELS} are read. Save it smaller, or leave it out."
        )


class PhotoReader(PILReader):
    """MONAI's reader for images, for ``LoadImaged(reader=...)``, on top of :py:func:`open_photo`.

    As MONAI's, it gives the axes (x, y, channel). Reading is left to ``get_data``, whose errors reach the user through
    ``LoadImage``, where those of ``read`` are swallowed.

    Args:
        mode: "RGB", or "L" for masks.

    """

    def __init__(self, mode: str = "RGB") -> None:
        super().__init__()
        self.mode = mode

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """True: whether a path can be read turns out by its content."""
        return True

    def read(self, data: Sequence[PathLike] | PathLike | np.ndarray, **kwargs: Any) -> Path:
        """Return the path, to be read by :py:meth:`get_data`."""
        if isinstance(data, list | tuple):
            if len(data) != 1:
                raise DataError(f"give one image, not {len(data)}.")
            data = data[0]
        return Path(data)  # type: ignore[arg-type]

    def get_data(self, img: Path) -> tuple[np.ndarray, dict[str, Any]]:  # type: ignore[override]
        """Return the array ``[x, y]`` or ``[x, y, 3]``, uint8, and its metadata.

        Raises:
            DataError: see :py:func:`open_photo`.

        """
        return super().get_data(open_photo(img, self.mode))
