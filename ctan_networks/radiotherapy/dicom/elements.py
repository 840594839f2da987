# SPDX-License-Identifier: Apache-2.0
"""Elements of DICOM data sets as plain numbers and text: the one place where damage shows, since pydicom reads late."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.config import disable_value_validation
from pydicom.encaps import generate_frames
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset, read_file_meta_info, read_preamble
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from ctan_networks.errors import DataError
from ctan_networks.reading import library_errors, require_file

__all__ = ["items", "number", "numbers", "pixels", "read_dicom", "read_header", "read_known", "text", "without_comment"]

ADVICE = "Export it again."
# A planning system's largest structure sets have some 100 MB.
MAX_INFLATED = 1 << 29
# Padding to an even length, at most.
MAX_TRAILING = 16
CHUNK = 1 << 20
# Markers of JPEG and JPEG-LS frames that say their size; the others of this range do not.
FRAME_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
J2K_START = b"\xff\x4f\xff\x51"


# Around what looks at elements: pydicom comments on values that break DICOM's rules, and quotes them, birth dates too.
without_comment = disable_value_validation


class _Bounded(io.BufferedReader):
    """A file of which no more is read at once than it has.

    pydicom reads as many bytes as an element says that it has, and Python asks for memory for all of them first.

    Args:
        file: its path.

    """

    def __init__(self, file: str | os.PathLike) -> None:
        super().__init__(io.FileIO(os.fspath(file)))  # type: ignore[arg-type]
        self._size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """As other files do, but for the bound."""
        return super().read(self._size if size is not None and size > self._size else size)


def read_header(file: str | os.PathLike, tags: Sequence[str] | None = None) -> pydicom.Dataset:
    """Read what stands before the pixels of a file of unknown content.

    Args:
        file: the file.
        tags: the elements that are needed; None: all.

    Raises:
        InvalidDicomError: when it is no DICOM file.
        Exception: whatever pydicom raises, depending on the place of the damage.

    """
    if not Path(file).is_file():
        # Not waiting for pipes.
        raise InvalidDicomError(f"{os.fspath(file)} is no file.")
    _refuse_bomb(file)
    return pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(tags) if tags else None)


def read_dicom(file: str | os.PathLike) -> pydicom.Dataset:
    """Read a DICOM file with its pixels.

    Raises:
        DataError: when it cannot be read.

    """
    require_file(file)
    with library_errors(file, ADVICE):
        _refuse_bomb(file)
        return pydicom.dcmread(io.BytesIO(Path(file).read_bytes()))


def read_known(file: str | os.PathLike, pixels: bool = False) -> pydicom.Dataset:
    """Read a DICOM file that :py:func:`read_header` has seen before: it does not inflate to more than is read.

    Args:
        file: the file.
        pixels: with its pixels.

    Raises:
        DataError: when it cannot be read.

    """
    with library_errors(file, "Get the file again."):
        if pixels:
            return pydicom.dcmread(io.BytesIO(Path(file).read_bytes()))
        with _Bounded(file) as stream:
            return pydicom.dcmread(stream, stop_before_pixels=True)


def text(file: str | os.PathLike, data: pydicom.Dataset, name: str, default: str = "") -> str:
    """An element as text; the default where it is absent or empty."""
    with library_errors(file, ADVICE), without_comment():
        value = data.get(name)
        return default if value is None else str(value)


def numbers(file: str | os.PathLike, data: pydicom.Dataset, name: str, count: int | None = None) -> np.ndarray | None:
    """An element as finite numbers; None where it is absent or empty.

    Args:
        file: what the error names.
        data: the data set.
        name: the element's keyword.
        count: how many there must be; None: any number.

    Raises:
        DataError: when it holds something else.

    """
    with library_errors(file, ADVICE), without_comment():
        value = data.get(name)
    if value is None or value == "" or (hasattr(value, "__len__") and len(value) == 0):
        return None
    try:
        found = np.atleast_1d(np.array(value, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise DataError(f"{file}: {name} holds no numbers ({str(error)[:80]}). {ADVICE}") from error
    if found.ndim != 1 or (count is not None and len(found) != count) or not np.isfinite(found).all():
        wanted = "finite numbers" if count is None else f"{count} finite number{'s' if count > 1 else ''}"
        raise DataError(f"{file}: {name} is {str(value)[:80]}, where {wanted} must be. {ADVICE}")
    return found


def number(file: str | os.PathLike, data: pydicom.Dataset, name: str) -> float | None:
    """An element as one finite number; None where it is absent or empty."""
    found = numbers(file, data, name, 1)
    return None if found is None else float(found[0])


def items(file: str | os.PathLike, data: pydicom.Dataset, name: str) -> list[pydicom.Dataset]:
    """The items of a sequence; none where it is absent.

    Raises:
        DataError: when it is no sequence.

    """
    with library_errors(file, ADVICE), without_comment():
        value = data.get(name)
        found = [] if value is None else list(value)
    if not all(isinstance(item, pydicom.Dataset) for item in found):
        raise DataError(f"{file}: {name} is damaged: it is no sequence. {ADVICE}")
    return found


def pixels(file: str | os.PathLike, data: pydicom.Dataset, shape: tuple[int, ...], rescale: Any = None) -> np.ndarray:
    """The pixels, which must have one sample each and the shape that is expected.

    Args:
        file: what the error names.
        data: with pixels.
        shape: what the header, read before, made of them.
        rescale: called with the array and the data set.

    Raises:
        DataError: when they are damaged, or have another shape.

    """
    with library_errors(f"{os.fspath(file)}: its pixels", "Get the file again, or export the series anew."):
        syntax = UID(str(data.file_meta.TransferSyntaxUID))
        frames = int(data.get("NumberOfFrames") or 1)
        if (frames, int(data.Rows), int(data.Columns)) != (1, *shape)[-3:] or int(data.SamplesPerPixel) != 1:
            raise ValueError(
                f"{frames} frames of {data.Rows} x {data.Columns} pixels with {data.SamplesPerPixel} samples, where"
                f" {shape} are expected"
            )
        if syntax.is_encapsulated:
            for frame in generate_frames(data.PixelData, number_of_frames=frames):
                coded = _coded_size(frame)
                if coded is not None and coded != (data.Rows, data.Columns):
                    raise ValueError(f"the compressed picture has {coded[0]} x {coded[1]} pixels, the header others")
        array = np.asarray(data.pixel_array)
        if rescale is not None:
            array = rescale(array, data)
        if array.shape != shape:
            raise ValueError(f"{array.shape} values, where {shape} are expected")
    return array


def _coded_size(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns by a JPEG, JPEG-LS or JPEG 2000 stream itself, for which its decoder asks memory."""
    start = frame.find(J2K_START, 0, 4096)
    if start >= 0 and len(frame) >= start + 24:
        x, y, left, top = struct.unpack(">4I", frame[start + 8 : start + 24])
        return y - top, x - left
    at = 2
    while frame[:2] == b"\xff\xd8" and at + 9 <= len(frame) and frame[at] == 0xFF:
        if frame[at + 1] in FRAME_MARKERS:
            return struct.unpack(">2H", frame[at + 5 : at + 9])  # type: ignore[return-value]
        at += 2 + struct.unpack(">H", frame[at + 2 : at + 4])[0]
    return None


def _refuse_bomb(file: str | os.PathLike) -> None:
    """A deflated file is inflated as a whole by pydicom: not before it is known how large that is."""
    if read_file_meta_info(file).get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    size = 0
    with Path(file).open("rb") as stream:
        read_preamble(stream, False)
        read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        while not inflate.eof and (pending := inflate.unconsumed_tail or stream.read(CHUNK)):
            size += len(inflate.decompress(pending, CHUNK))
            if size > MAX_INFLATED:
                raise DataError(f"{file} inflates to more than {MAX_INFLATED} bytes. Export it without compression.")
        if len(inflate.unused_data) + len(stream.read(MAX_TRAILING)) >= MAX_TRAILING:
            # A second stream behind the first, which pydicom might take for the first.
            raise DataError(f"{file}: bytes follow its deflated data. {ADVICE}")
