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

__all__ = ["PhotoReader", "open_photo"]

# Fewer pixels a side hold no lesion; it is a broken export or a placeholder.
MIN_SIDE = 16


def open_photo(path: PathLike, mode: str = "RGB") -> Image.Image:
    """Open and decode an image as a viewer shows it.

    The camera's EXIF rotation is applied, an alpha channel dropped, and palettes, grey and CMYK images are converted.

    Args:
        path: the file.
        mode: "RGB", or "L" (one grey channel) for a mask.

    Raises:
        DataError: when the file is not there, is no image, is cut short, too large or too small; names it.

    """
    try:
        with Image.open(path) as stored:
            photo = ImageOps.exif_transpose(stored).convert(mode)
    except FileNotFoundError:
        raise DataError(f"{path} is not there. Check the path.") from None
    except Exception as error:
        # Pillow raises a dozen kinds, among them SyntaxError and struct.error for broken PNG and TIFF.
        raise DataError(f"{path} cannot be read as an image ({error}). Fetch it again, or leave it out.") from error
    if min(photo.size) < MIN_SIDE:
        raise DataError(
            f"{path} has only {photo.width} x {photo.height} pixels, at least {MIN_SIDE} a side are needed. Fetch it"
            " again, or leave it out."
        )
    return photo


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
