# SPDX-License-Identifier: Apache-2.0
"""Headers of MetaImage files (.mha, .mhd), and whether all of their data is there."""

from __future__ import annotations

import os
import zlib
from math import prod
from pathlib import Path

from ctan_networks.errors import DataError
from ctan_networks.reading import check_voxels, is_there, reason_without_quotes, require_file

__all__ = ["check_metaimage", "read_metaimage_header", "refuse_outside"]

# MetaIO's sizes, in bytes; its MET_LONG has four on every machine.
TYPES = {
    "MET_CHAR": 1,
    "MET_UCHAR": 1,
    "MET_SHORT": 2,
    "MET_USHORT": 2,
    "MET_INT": 4,
    "MET_UINT": 4,
    "MET_LONG": 4,
    "MET_ULONG": 4,
    "MET_LONG_LONG": 8,
    "MET_ULONG_LONG": 8,
    "MET_FLOAT": 4,
    "MET_DOUBLE": 8,
}
# Key of the header under which its own length goes; no key of MetaIO has brackets.
LENGTH = "[length]"
LAST_KEY = "ElementDataFile"
MAX_HEADER = 1 << 16
CHUNK = 1 << 22
ADVICE = "Get the file again."


def read_metaimage_header(path: str | os.PathLike) -> dict[str, str]:
    """Read the text at the start of a MetaImage file, and nothing of its data.

    Args:
        path: the file.

    Returns:
        What stands before and after each line's "=", as text, up to "ElementDataFile"; and under "[length]" the number
        of bytes up to there.

    Raises:
        DataError: when the file cannot be read, or the header is cut short or is none.

    """
    header: dict[str, str] = {}
    require_file(path, ADVICE)
    try:
        with Path(path).open("rb") as file:
            while LAST_KEY not in header:
                line = file.readline(MAX_HEADER)
                key, equals, value = line.decode("utf-8", "replace").partition("=")
                if not line.endswith(b"\n") and len(line) < MAX_HEADER:
                    raise DataError(f"{path}: the header is cut short after {len(header)} lines. {ADVICE}")
                if (line.strip() and not equals) or file.tell() > MAX_HEADER:
                    raise DataError(f"{path}: this is no MetaImage header (line {len(header) + 1}). {ADVICE}")
                if equals:
                    header[key.strip()] = value.strip()
            header[LENGTH] = str(file.tell())
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}). Check the file.") from error
    return header


def check_metaimage(path: str | os.PathLike, header: dict[str, str] | None = None, decompress: bool = False) -> None:
    """Refuse a MetaImage file of which data is missing.

    ITK itself returns an image of whatever was in memory when compressed data is cut short or damaged, or holds less
    than the header says, and only prints "Uncompress failed".

    Args:
        path: the file.
        header: as :py:func:`read_metaimage_header` gives it; None: it is read.
        decompress: decompress compressed data, a piece at a time, to see whether it is whole. Otherwise its length is
            compared with "CompressedDataSize", where the header has that.

    Raises:
        DataError: when data is missing or damaged, or the header says nothing of its size or of its voxels'.

    """
    header = read_metaimage_header(path) if header is None else header
    size = _expected_bytes(path, header)
    if not {"ElementSpacing", "ElementSize"} & header.keys():
        # ITK takes 1 mm, and all that is resampled or measured is wrong.
        raise DataError(f"{path}: the header has no ElementSpacing, the size of its voxels. Write it again with it.")
    file = Path(path)
    start = int(header[LENGTH])
    if header[LAST_KEY].upper() != "LOCAL":
        refuse_outside(path, header[LAST_KEY])
        file, start = file.parent / header[LAST_KEY], 0
        if not is_there(file):
            raise DataError(f"{path}: its data, {file}, is not there. Put it beside the header.")
    there = require_file(file, ADVICE) - start
    if not _is_true(header.get("BinaryData", "True")):
        # Text has no size by which a missing end would show.
        raise DataError(f"{path}: its numbers are written as text. Write it again with BinaryData = True.")
    if not _is_true(header.get("CompressedData", "False")):
        if there < size:
            raise DataError(f"{path} is cut short: {there} of {size} bytes of its data are there. {ADVICE}")
        return
    stored = _stored_bytes(header)
    if stored is None:
        if start:
            # MetaIO then starts at the top of the file and decompresses the header.
            raise DataError(
                f"{path}: its data is compressed and the header has no CompressedDataSize, so that ITK cannot read it."
                " Write it again, with its size or uncompressed."
            )
        stored = there
    if there < stored or stored == 0:
        raise DataError(f"{path} is cut short: {there} of {stored} bytes of its data are there. {ADVICE}")
    if decompress:
        _check_stream(path, file, start, stored, size)


def refuse_outside(path: str | os.PathLike, name: str) -> None:
    """Refuse a header that names data outside of its folder, or many files.

    ITK makes many names with C's ``sprintf``, to which a name with other signs than ``%d`` does anything.

    Args:
        path: the header.
        name: what it says where its data is.

    Raises:
        DataError: when it is not one file in the folder of the header or below.

    """
    if name.upper().startswith("LIST") or "%" in name:
        raise DataError(f"{path}: its data lies in many files ({name[:80]!r}). Write the volume as one file.")
    if not name or "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise DataError(f"{path}: its data, {name[:80]!r}, is outside of its folder. Put it beside the header.")


def _stored_bytes(header: dict[str, str]) -> int | None:
    """Length of the compressed data by what the header says; None where it says nothing."""
    try:
        size = int(float(header["CompressedDataSize"]))
    except (KeyError, ValueError, OverflowError):
        return None
    return size if size > 0 else None


def _expected_bytes(path: str | os.PathLike, header: dict[str, str]) -> int:
    """Bytes of the image by what the header says."""
    try:
        shape = [int(n) for n in header["DimSize"].split()]
        channels = int(header.get("ElementNumberOfChannels", "1"))
        if len(shape) != int(header["NDims"]) or min(*shape, channels) < 1:
            raise ValueError(f"DimSize = {' '.join(map(str, shape))}"[:80])
        size = prod(shape) * channels * TYPES[header["ElementType"]]
    except KeyError as error:
        raise DataError(f"{path}: the header has no {str(error)[1:-1]}, or one that is not known. {ADVICE}") from None
    except (TypeError, ValueError) as error:
        # Not what stands there in place of a number, which may be anything.
        raise DataError(f"{path}: the header makes no sense ({reason_without_quotes(error)[:200]}). {ADVICE}") from None
    check_voxels(path, [*shape, channels])
    return size


def _check_stream(path: str | os.PathLike, file: Path, start: int, stored: int, size: int) -> None:
    """Decompress ``stored`` bytes, which must give ``size``."""
    stream = zlib.decompressobj()
    count = 0
    try:
        with file.open("rb") as data:
            data.seek(start)
            pending = b""
            # One piece more than there should be is enough to know.
            while not stream.eof and count <= size:
                if not pending:
                    pending = data.read(min(CHUNK, stored))
                    stored -= len(pending)
                    if not pending:
                        break
                count += len(stream.decompress(pending, CHUNK))
                pending = stream.unconsumed_tail
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}). Check the file.") from error
    except zlib.error as error:
        raise DataError(f"{path}: its compressed data is damaged ({error}). {ADVICE}") from None
    if count != size or not stream.eof:
        found = f"{count} of {size} bytes" if count <= size else f"more than {size} bytes"
        end = "" if stream.eof else " and no end"
        raise DataError(f"{path} is cut short or damaged: its compressed data holds {found}{end}. {ADVICE}")


def _is_true(value: str) -> bool:
    return value[:1] in ("T", "t", "1")
