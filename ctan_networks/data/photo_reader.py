# SPDX-License-Identifier: Apache-2.0
"""Photographs from JPEG, PNG, BMP, TIFF and whatever else Pillow opens: upright, grey or RGB."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from monai.config import PathLike
from monai.data import ImageReader
from monai.utils import MetaKeys
from PIL import ExifTags, Image, ImageOps

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.reading import check_finite, library_errors, require_file

__all__ = [
    "ORIENTATION",
    "PHOTO_SUFFIXES",
    "STORED_SIZE",
    "PhotoReader",
    "Picture",
    "open_picture",
    "picture_header",
    "picture_meta",
]

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
# Keys of the metadata: how the camera was held (EXIF 2.32, tag 0x0112; 1 is upright), and columns and rows of the file.
ORIENTATION, STORED_SIZE = "orientation", "stored_size"
# Fewer pixels a side hold no lesion; it is a broken export or a placeholder.
MIN_SIDE = 16
# Larger than any camera's. Pillow itself refuses twice as many as its own limit, which is 179 million.
MAX_PIXELS = 150_000_000
# What cameras and editors write. Pillow reads more, some of it (EPS) with other programs.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "JPEG2000", "PPM")
ADVICE = "Fetch it again, or leave it out."
# NewSubfileType of TIFF 6.0: a smaller version of another page, or the transparency of one.
NO_PAGE = 0b101
# A 16-bit picture that uses less of its range than a quarter has 12 or 14 bits, and nobody says which.
LEAST_TOP = 1 << 14
# The same in the upper 8 of 16 bits, which are all that Pillow reads of a colour picture.
LEAST_TOP_OF_8 = LEAST_TOP >> 8


class Picture(NamedTuple):
    """A decoded picture.

    Attributes:
        image: upright, with the stored values.
        orientation: EXIF's number of how it was held; 1: upright.
        stored_size: columns and rows as the file holds them, before it was turned.
    """

    image: Image.Image
    orientation: int
    stored_size: tuple[int, int]


def open_picture(path: PathLike) -> Picture:
    """Open and decode a picture, turn it upright as a viewer does, and keep the values that are stored.

    Args:
        path: the file.

    Raises:
        DataError: when the file is not there, is no image, is cut short, too large or too small, holds several
            pictures, or is almost black in the 8 of its 16 bits that can be read; names it.

    """
    require_file(path, ADVICE)
    # Pillow raises a dozen kinds, among them SyntaxError and struct.error for broken PNG and TIFF.
    with library_errors(path, ADVICE):
        with Image.open(path, formats=FORMATS) as stored:
            size = _stored_size(stored)
            _check_size(path, size)
            _check_pages(path, stored)
            _check_bitmap(path, stored)
            deep_colour = ";16" in str(stored.tile) and not stored.mode.startswith("I")
            if stored.format == "PNG":
                # Checksums, which decoding does not look at. It leaves the file at its end.
                stored.verify()
        with Image.open(path, formats=FORMATS) as stored:
            # Loading turns a TIFF upright and forgets that it did.
            orientation = _orientation(stored) if stored.format == "TIFF" else 1
            stored.load()
            orientation = max(orientation, _orientation(stored))
            picture = ImageOps.exif_transpose(stored)
    if min(picture.size) < MIN_SIDE:
        raise DataError(
            f"{path} has only {picture.width} x {picture.height} pixels, at least {MIN_SIDE} a side are needed. Fetch"
            " it again, or leave it out."
        )
    if deep_colour and max(np.asarray(band).max() for band in picture.split()[: _colours(picture)]) < LEAST_TOP_OF_8:
        raise DataError(
            f"{path} has 16 bits a channel and uses less than a quarter of their range. Save it with 8 bits a channel."
        )
    return Picture(picture, orientation, size)


def picture_header(path: PathLike) -> dict[str, Any]:
    """Orientation and stored size of a picture, without decoding it where that can be had.

    Raises:
        DataError: when it cannot be read; names it.

    """
    require_file(path, ADVICE)
    with library_errors(path, ADVICE), Image.open(path, formats=FORMATS) as stored:
        # In a PNG it may stand behind the pixels, which cameras do not write.
        held = 1 if stored.format == "PNG" and "exif" not in stored.info else _orientation(stored)
        return {ORIENTATION: held, STORED_SIZE: list(_stored_size(stored))}


def picture_meta(picture: Picture) -> dict[str, Any]:
    """Metadata of a picture whose array has the axes (x, y), or (x, y, channel)."""
    return {
        str(MetaKeys.SPATIAL_SHAPE): np.array(picture.image.size),
        ORIENTATION: picture.orientation,
        STORED_SIZE: list(picture.stored_size),
    }


class PhotoReader(ImageReader):
    """Read a photograph, for ``LoadImaged(reader=...)``, as a viewer shows it.

    The camera's EXIF rotation is applied, an alpha channel dropped, and palettes, grey, CMYK and L*a*b* pictures are
    converted. A 16-bit grey picture is scaled to 8 bits where RGB is asked for, and keeps its values where grey is.

    As MONAI's readers, it gives the axes (x, y, channel). Reading is left to ``get_data``, whose errors reach the user
    through ``LoadImage``, where those of ``read`` are swallowed.

    Args:
        channels: 3 (RGB) or 1 (grey).

    Raises:
        ConfigError: when it is another number.

    """

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        if channels not in (1, 3):
            raise ConfigError(f"pictures have 1 or 3 channels, not {channels!r}.")
        self.channels = channels

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """True: whether a path can be read turns out by its content."""
        return True

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> Path:
        """Return the path, to be read by :py:meth:`get_data`."""
        if isinstance(data, list | tuple):
            if len(data) != 1:
                raise DataError(f"give one image, not {len(data)}.")
            data = data[0]
        return Path(data)  # type: ignore[arg-type]

    def get_data(self, img: PathLike) -> tuple[np.ndarray, dict[str, Any]]:
        """Return the array ``[x, y]`` or ``[x, y, 3]`` and its metadata.

        The array is uint8; of a grey picture with more bits, which keeps its values, what the file has.

        Raises:
            DataError: see :py:func:`open_picture`; and when a value is not finite, or no 8-bit value can be made of it.

        """
        picture = open_picture(img)
        image = picture.image
        if image.mode.startswith(("I", "F")):
            values = np.asarray(image)
            check_finite(img, values)
            if self.channels == 3:
                values = np.repeat(_in_8_bits(img, values)[..., None], 3, axis=-1)
        else:
            with library_errors(img, ADVICE):
                # By way of RGB: Pillow has no direct way from L*a*b* to grey.
                colours = image.convert("RGB")
                values = np.asarray(colours if self.channels == 3 else colours.convert("L"))
        channel: int | str = -1 if self.channels == 3 else "no_channel"
        meta = {**picture_meta(picture), str(MetaKeys.ORIGINAL_CHANNEL_DIM): channel}
        return np.swapaxes(values, 0, 1), meta


def _colours(picture: Image.Image) -> int:
    """Bands that are no alpha channel."""
    return len(picture.getbands()) - picture.getbands().count("A")


def _in_8_bits(path: PathLike, values: np.ndarray) -> np.ndarray:
    low, top = float(values.min()), float(values.max())
    if low >= 0 and top <= 1 and values.dtype.kind == "f":
        return np.rint(values * 255).astype(np.uint8)
    if low >= 0 and top <= 255:
        return np.rint(values).astype(np.uint8)
    if low >= 0 and LEAST_TOP <= top <= 65535 and values.dtype.kind in "iu":
        return (values // 257).astype(np.uint8)
    raise DataError(
        f"{path} has values from {low:g} to {top:g}, which are those of no 8-bit or 16-bit photograph. Save it with 8"
        " bits a channel."
    )


def _orientation(stored: Image.Image) -> int:
    number = stored.getexif().get(ExifTags.Base.Orientation, 1)
    return number if number in range(1, 9) else 1


def _stored_size(stored: Image.Image) -> tuple[int, int]:
    """Columns and rows in the file; newer releases of Pillow give those of a TIFF when it is upright."""
    tags = getattr(stored, "tag_v2", {})
    return int(tags.get(ExifTags.Base.ImageWidth, stored.width)), int(
        tags.get(ExifTags.Base.ImageLength, stored.height)
    )


def _check_size(path: PathLike, size: tuple[int, int]) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise DataError(
            f"{path} has {size[0]} x {size[1]} pixels; at most {MAX_PIXELS} are read. Save it smaller, or leave it out."
        )


def _check_pages(path: PathLike, stored: Image.Image) -> None:
    """Refuse a file of several pictures, of which one is meant. A telephone's MPO has its photograph first."""
    count = getattr(stored, "n_frames", 1)
    if count > 1 and stored.format == "TIFF":
        kinds = []
        for page in range(count):
            stored.seek(page)
            kinds.append(int(stored.tag_v2.get(ExifTags.Base.NewSubfileType, 0)))  # type: ignore[attr-defined]
        stored.seek(0)
        count = len([kind for kind in kinds if not kind & NO_PAGE])
    if count > 1 and stored.format != "MPO":
        raise DataError(f"{path} holds {count} pictures (pages or frames). Save the one that counts as a file.")


def _check_bitmap(path: PathLike, stored: Image.Image) -> None:
    """Refuse a BMP of 4 or 8 bits whose few colours are greys: Pillow takes its bytes for those of another depth."""
    if stored.format != "BMP" or stored.mode not in ("1", "L"):
        return
    decoder, _, _, arguments = stored.tile[0]  # type: ignore[attr-defined]
    bits = 1 if stored.mode == "1" else 8
    bytes_a_row = (stored.width * bits + 31) // 32 * 4
    if (decoder == "raw" and arguments[1] != bytes_a_row) or (decoder != "raw" and bits == 1):
        raise DataError(f"{path} is a BMP whose palette of greys cannot be read. Save it as PNG.")
