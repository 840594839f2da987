# SPDX-License-Identifier: Apache-2.0
"""Masks and label maps from pictures: palettes, colours and transparency turned into one value a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data import ImageReader
from monai.utils import MetaKeys
from PIL import Image

from ctan_networks.data.photo_reader import ADVICE, PhotoReader, open_picture, picture_meta
from ctan_networks.errors import DataError
from ctan_networks.reading import library_errors

__all__ = ["MaskReader"]

# How far a colour may lie from a shade of the mask's colour: JPEG stores colours coarsely.
COLOUR_TOLERANCE = 48
OPAQUE = 255


class MaskReader(ImageReader):
    """Read a picture of a mask or of a label map, for ``LoadImaged(reader=...)``, upright.

    ==============================  ===============================================================================
    file                            values
    ==============================  ===============================================================================
    grey, 1 to 32 bits              as they are stored
    palette                         its indices, the background's being 0 (as in PASCAL VOC); of more than two greys
                                    and one structure, its greys
    one colour on black             the brightest channel
    transparency                    0 where it is transparent; alone, it is the mask
    red, green and blue masks       three channels, where there are three structures
    ==============================  ===============================================================================

    What the values mean is up to :py:class:`ctan_networks.transforms.StructureChannelsd`.

    Args:
        structures: number of structures.

    """

    def __init__(self, structures: int = 1) -> None:
        super().__init__()
        self.structures = structures

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """True: whether a path can be read turns out by its content."""
        return True

    read = PhotoReader.read

    def get_data(self, img: Path) -> tuple[np.ndarray, dict[str, Any]]:
        """Return the array ``[x, y]``, or ``[x, y, 3]`` of three masks, and its metadata.

        Raises:
            DataError: see :py:func:`ctan_networks.data.photo_reader.open_picture`; and when colours or transparency
                are those of no mask.

        """
        picture = open_picture(img)
        with library_errors(img, ADVICE):
            values = self._values(img, picture.image)
        channel: int | str = -1 if values.ndim == 3 else "no_channel"
        meta = {**picture_meta(picture), str(MetaKeys.ORIGINAL_CHANNEL_DIM): channel}
        return np.swapaxes(values, 0, 1), meta

    def _values(self, path: PathLike, image: Image.Image) -> np.ndarray:
        if image.mode in ("P", "PA"):
            return self._palette(path, image)
        if image.mode == "1" or (image.mode.startswith(("L", "I", "F")) and image.mode not in ("LA", "La", "LAB")):
            values = np.asarray(image)
            return values.astype(np.uint8) if values.dtype == bool else values
        if image.mode in ("LA", "La", "RGBA", "RGBa"):
            pixels = np.asarray(image.convert("RGBA"))
            return self._transparent(path, pixels[..., :3], pixels[..., 3])
        return self._colours(path, np.asarray(image.convert("RGB")))

    def _palette(self, path: PathLike, image: Image.Image) -> np.ndarray:
        indices = np.asarray(image.getchannel(0) if image.mode == "PA" else image)
        used = np.unique(indices)
        table = np.asarray(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        if used.max() >= len(table):
            return indices
        colours = table[used].astype(int)
        if len(np.unique(colours, axis=0)) < len(used):
            # Colours that tell nothing apart were left as they came.
            return indices
        if self.structures == 1 and len(used) > 2 and (colours == colours[:, :1]).all():
            # A grey picture with edges that was saved with a palette.
            return table[indices, 0]
        black = [index for index, colour in zip(used, colours, strict=True) if not colour.any()]
        if 0 in used and black and 0 not in black:
            raise DataError(
                f"{path} is a palette picture whose black is index {black[0]}, while index 0 has a colour: one of the"
                " two must be the background. Save the mask as a grey picture, with 0 outside."
            )
        return indices

    def _transparent(self, path: PathLike, colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        visible = alpha > 0
        levels = np.unique(alpha)
        if len(levels) == 1 and visible.any():
            return self._colours(path, colours)
        shown = colours[visible]
        if not len(shown) and (colours == colours[0, 0]).all():
            return alpha
        if len(shown) and (shown == shown[0]).all():
            # One colour, and what shows where it lies is the transparency.
            return alpha
        if not len(shown) or len(levels) > 2:
            raise DataError(
                f"{path} has colours and a transparency of their own, and no one can say which is the mask. Save the"
                " mask as a grey picture, with 0 outside."
            )
        return self._colours(path, np.where(visible[..., None], colours, 0))

    def _colours(self, path: PathLike, pixels: np.ndarray) -> np.ndarray:
        if (pixels == pixels[..., :1]).all():
            return pixels[..., 0]
        if self.structures == 3 and all(len(np.unique(band)) <= 2 for band in np.moveaxis(pixels, -1, 0)):
            return pixels
        values = pixels.max(-1)
        brightest = pixels.reshape(-1, 3)[int(pixels.astype(int).sum(-1).argmax())].astype(float)
        shades = values[..., None] / brightest.max() * brightest
        if np.abs(pixels - shades).max() > COLOUR_TOLERANCE:
            count = len(np.unique(pixels.reshape(-1, 3), axis=0))
            raise DataError(
                f"{path} has {count} colours, and a mask has one colour on black. Save the mask as a grey picture: 0"
                " outside, and one value inside (of several structures 1, 2, 3 ...)."
            )
        return values
