# SPDX-License-Identifier: Apache-2.0
"""The on-disk format of OpenKBP: sparse CSV on a 128 x 128 x 128 grid.

Source: Babier et al., "OpenKBP: The open-access knowledge-based planning grand challenge and dataset", Med Phys 2021,
doi 10.1002/mp.14845, and the challenge's code (github.com/ababier/open-kbp).
"""

from __future__ import annotations

import math
import os
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd

from ctan_networks.errors import DataError
from ctan_networks.reading import check_geometry, require_file
from ctan_networks.utils import atomic_path, result_path

__all__ = [
    "CT_OFFSET",
    "GRID",
    "STRUCTURES",
    "affine",
    "read_sparse_csv",
    "read_sparse_voxels",
    "read_voxel_dimensions",
    "write_sparse_csv",
    "write_voxel_dimensions",
]

STRUCTURES = (
    "Brainstem",
    "SpinalCord",
    "RightParotid",
    "LeftParotid",
    "Esophagus",
    "Larynx",
    "Mandible",
    "PTV56",
    "PTV63",
    "PTV70",
)
GRID = (128, 128, 128)
CT_OFFSET = 1024
"""``ct.csv`` holds HU + 1024, clipped at 0."""

HEADER = b",data"
# 64 bytes a voxel: no line that is written with a number's own digits is as long.
MAX_BYTES = 64 * math.prod(GRID)
MAX_NUMBER = 64
# Readers give float32. NaN is not at most anything.
MAX_VALUE = float(np.finfo(np.float32).max)
MAX_DIMENSIONS = 4096
REMEDY = "Restore the file from the published data, or take the case out of the folder."


def read_sparse_csv(path: str | os.PathLike, values: bool, size: int = math.prod(GRID)) -> np.ndarray:
    """Read one sparse CSV: a header ``,data``, then a line for each voxel that is there, in any order.

    Args:
        path: the file.
        values: True for lines ``index,value`` (CT, dose), False for lines ``index,`` (masks). The index counts the
            voxels of the grid in C order.
        size: number of voxels of the grid.

    Returns:
        Flat array ``[size]``: float64, 0 where the file has no line (``values``), or a uint8 mask of 0 and 1.

    Raises:
        DataError: when the file is missing, empty or malformed; names the file, the line and the reason.

    """
    index, data = read_sparse_voxels(path, values, size)
    array = np.zeros(size, np.float64 if values else np.uint8)
    array[index] = data
    return array


def read_sparse_voxels(
    path: str | os.PathLike, values: bool, size: int = math.prod(GRID)
) -> tuple[np.ndarray, np.ndarray]:
    """Read one sparse CSV as it is stored, for who needs no array of the whole grid.

    Args:
        path: the file.
        values: as of :py:func:`read_sparse_csv`.
        size: number of voxels of the grid.

    Returns:
        Indices ``[n]`` (int64, each once, in the file's order) and what is there ``[n]``: float64 values, or ones.

    Raises:
        DataError: as :py:func:`read_sparse_csv`.

    """
    content = _read_bytes(path)
    if b"\r" in content:
        content = content.replace(b"\r\n", b"\n")
    head, _, body = content.partition(b"\n")
    if head != HEADER:
        raise DataError(
            f"{path}, line 1: the header is {_shown(head)}, but an OpenKBP file begins with ',data'. {REMEDY}"
        )
    # A file of more lines than voxels is wrong in one of the first of them.
    parsed = None if _count(body, b"\n") > size else _parse_values(body) if values else _parse_mask(body)
    # What the fast parsers refuse, the slow one reads by the definition of the format or says what is wrong where.
    return parsed if parsed and _is_sound(parsed[0], size) else _parse_lines(path, body, values, size)


def _read_bytes(path: str | os.PathLike, limit: int = MAX_BYTES) -> bytes:
    size = require_file(path, REMEDY)
    if size > limit:
        raise DataError(f"{path} has {size} bytes, where such a file has at most {limit}. {REMEDY}")
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} is not there. {REMEDY}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}). Check the path and its permissions.") from error
    if not content:
        raise DataError(f"{path} is empty. {REMEDY}")
    return content


def _count(body: bytes, character: bytes) -> int:
    # bytes.count stops at each of the many it finds: ten times as slow.
    return int(np.count_nonzero(np.frombuffer(body, np.uint8) == ord(character)))


def _parse_values(body: bytes) -> tuple[np.ndarray, np.ndarray] | None:
    lines = _count(body, b"\n") + (body[-1:] not in (b"\n", b""))
    # pandas takes quotes off; the format has none.
    if lines == 0 or _count(body, b",") != lines or b'"' in body:
        return None
    try:
        table = pd.read_csv(
            BytesIO(body), header=None, names=["index", "data"], dtype={"data": np.float64}, na_filter=False
        )
    except ValueError:
        return None
    index, data = table["index"].to_numpy(), table["data"].to_numpy()
    sound = index.dtype == np.int64 and len(index) == lines and np.abs(data).max() <= MAX_VALUE
    return (index, data) if sound else None


def _parse_mask(body: bytes) -> tuple[np.ndarray, np.ndarray] | None:
    lines = _count(body, b"\n")
    if lines == 0 or body[:1] == b"," or not body.endswith(b",\n") or body.count(b",\n") != lines:
        return None
    if body.translate(None, b"0123456789,\n"):
        return None
    try:
        index = np.fromstring(body.replace(b",\n", b" "), dtype=np.int64, sep=" ")
    except (ValueError, DeprecationWarning):
        return None
    return (index, np.ones(lines, np.uint8)) if len(index) == lines else None


def _is_sound(index: np.ndarray, size: int) -> bool:
    """In range and without duplicates; the published files are sorted."""
    if index.min() < 0 or index.max() >= size:
        return False
    return bool((np.diff(index) > 0).all()) or len(np.unique(index)) == len(index)


def _parse_lines(path: str | os.PathLike, body: bytes, values: bool, size: int) -> tuple[np.ndarray, np.ndarray]:
    found: dict[int, float] = {}
    wanted = "'index,value'" if values else "'index,'"
    lines = body.split(b"\n", size + 1)
    for number, line in enumerate(lines[:-1] if lines[-1] == b"" else lines, start=2):
        fields = line.split(b",")
        reason = ""
        if len(fields) != 2:
            reason = f"{_shown(line)} is not of the form {wanted}"
        elif not re.fullmatch(rb"-?\d{1,18}", fields[0]):
            reason = f"the index {_shown(fields[0])} is not an integer"
        elif not 0 <= int(fields[0]) < size:
            reason = f"the index {int(fields[0])} is outside of the grid's 0 to {size - 1}"
        elif int(fields[0]) in found:
            reason = f"the index {int(fields[0])} is there for the second time"
        elif not values and fields[1]:
            reason = f"{_shown(line)} has a value, where a mask has lines {wanted}"
        elif values and not _is_number(fields[1]):
            reason = f"the value {_shown(fields[1])} is not a finite number"
        if reason:
            raise DataError(f"{path}, line {number}: {reason}. {REMEDY}")
        found[int(fields[0])] = float(fields[1]) if values else 1
    return np.array(list(found), np.int64), np.array(list(found.values()), np.float64)


def _is_number(text: bytes) -> bool:
    # Python takes 1_000 for a number, too.
    if len(text) > MAX_NUMBER or b"_" in text:
        return False
    try:
        return abs(float(text)) <= MAX_VALUE
    except ValueError:
        return False


def _shown(text: bytes) -> str:
    return repr(text[:40].decode("ascii", "replace")) + ("..." if len(text) > 40 else "")


def write_sparse_csv(path: str | os.PathLike, array: np.ndarray, mask: bool = False) -> None:
    """Write the voxels above 0 of an array as sparse CSV, as the challenge takes it for submission (``pt_N.csv``).

    Values are written with enough digits to read the same number of the array's type back: 9 of float32, 17 of
    float64. The file is there whole or not at all.

    Args:
        path: the file.
        array: values, shaped as the grid (128, 128, 128) or flat in C order.
        mask: write lines ``index,`` in place of ``index,value``.

    Raises:
        DataError: when a value is not finite.

    """
    flat = np.asarray(array).ravel()
    if not np.isfinite(flat).all():
        raise DataError(f"{path}: not written, since {np.count_nonzero(~np.isfinite(flat))} values are not finite.")
    index = np.flatnonzero(flat > 0)
    # One format for all lines takes half the time of a format for each.
    if mask:
        lines = ("%d,\n" * len(index)) % tuple(index.tolist())
    else:
        data = flat[index]
        digits = {np.dtype(np.float16): 5, np.dtype(np.float32): 9}.get(data.dtype, 17)
        # Whole numbers, as of a CT, have a decimal in the challenge's files.
        number = "%d.0" if np.array_equal(data, np.floor(data)) else f"%.{digits}g"
        parts: list[float] = [0] * (2 * len(index))
        parts[::2], parts[1::2] = index.tolist(), data.tolist()
        lines = (f"%d,{number}\n" * len(index)) % tuple(parts)
    with result_path(path) as temporary:
        temporary.write_bytes((",data\n" + lines).encode())


def read_voxel_dimensions(path: str | os.PathLike) -> tuple[float, float, float]:
    """Read ``voxel_dimensions.csv``: one number a line.

    Returns:
        Voxel size in mm along the array's axes (anterior to posterior, right to left, superior to inferior).

    Raises:
        DataError: unless there are three numbers that a scanner's voxels can have.

    """
    lines = _read_bytes(path, MAX_DIMENSIONS).decode("ascii", "replace").split()
    if len(lines) != 3 or not all(_is_number(line.encode()) and float(line) > 0 for line in lines):
        raise DataError(
            f"{path}: must hold three positive numbers, the voxel size in mm, one a line; it holds"
            f" {[line[:40] for line in lines[:5]]}. {REMEDY}"
        )
    x, y, z = (float(line) for line in lines)
    check_geometry(path, affine((x, y, z)), GRID)
    return x, y, z


def write_voxel_dimensions(path: str | os.PathLike, voxel_dimensions: tuple[float, float, float]) -> None:
    """Write ``voxel_dimensions.csv`` in the published number format."""
    with atomic_path(path) as temporary:
        temporary.write_bytes("".join(f"{float(v):.18e}\n" for v in voxel_dimensions).encode())


def affine(voxel_dimensions: tuple[float, float, float]) -> np.ndarray:
    """Affine of an OpenKBP array, whose axes run anterior to posterior, right to left, superior to inferior ("PLI").

    Args:
        voxel_dimensions: voxel size in mm along the three axes.

    Returns:
        ``[4, 4]`` float64, from voxel index to RAS mm: columns (0, -dx, 0), (-dy, 0, 0), (0, 0, -dz). The data set
        keeps no position, so the origin is 0.

    """
    dx, dy, dz = voxel_dimensions
    matrix = np.zeros((4, 4))
    matrix[1, 0], matrix[0, 1], matrix[2, 2], matrix[3, 3] = -dx, -dy, -dz, 1.0
    return matrix
