# SPDX-License-Identifier: Apache-2.0
"""What all readers share: limits of size, and errors of libraries turned into errors that a user can act on."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from monai.utils import MetaKeys

from ctan_networks.errors import ConfigError, CTANError, DataError

__all__ = [
    "MAX_VOXELS",
    "check_finite",
    "check_geometry",
    "check_voxels",
    "geometry_alone",
    "is_there",
    "library_errors",
    "list_folder",
    "reason_without_quotes",
    "require_file",
    "walk_folder",
]

MAX_VOXELS = 2**30
"""Largest volume that is read (a CT of 512 x 512 x 4096); the environment variable CTAN_MAX_VOXELS sets another."""

# No scanner of people makes voxels outside of these.
MIN_SPACING_MM, MAX_SPACING_MM = 0.01, 100.0
# Wider than this no scanner, and no patient, is; resampling would fill the memory.
MAX_EXTENT_MM = 10_000.0
# Unit vectors of axes that lie nearly in one plane.
MIN_DETERMINANT = 1e-3
REASON = 300
MAX_VALUE = float(np.finfo(np.float32).max)
# What libraries quote of a file may be a name or a birth date: 'invalid literal for int(): ...'.
QUOTED = re.compile(r"""(?<!\w)b?(["'])(?:.*?)\1(?!\w)""", re.DOTALL)
# Metadata that says where voxels lie. The rest of a header may hold names, and what a reader gives ends in the cache.
GEOMETRY = tuple(
    str(key)
    for key in (
        MetaKeys.AFFINE,
        MetaKeys.ORIGINAL_AFFINE,
        MetaKeys.SPATIAL_SHAPE,
        MetaKeys.SPACE,
        MetaKeys.ORIGINAL_CHANNEL_DIM,
    )
)


@contextmanager
def library_errors(where: str | os.PathLike, advice: str = "Check that the file is whole.") -> Iterator[None]:
    """Around calls of a library that reads a file, and around nothing else: what it raises becomes a DataError.

    Libraries raise whatever the place of the damage leads to: struct.error, IndexError, zlib.error, RecursionError ...
    What they quote of the file is left out, and their own error is not shown as the cause, as it quotes it too: it may
    identify a patient.
    """
    try:
        yield
    except CTANError:
        raise
    except Exception as error:  # noqa: BLE001  see above
        reason = " ".join(reason_without_quotes(error).split())[:REASON] or type(error).__name__
        raise DataError(f"{where} cannot be read ({reason}). {advice}") from None


def reason_without_quotes(error: BaseException) -> str:
    """What a library's error says, without what it quotes of the file; of the system's errors with the file's name."""
    if isinstance(error, OSError) and error.errno is not None:
        return str(error)
    return QUOTED.sub("...", str(error))


def geometry_alone(meta: Mapping[Any, Any]) -> dict[str, Any]:
    """Of a reader's metadata what says where the voxels lie, and nothing that a header says of the patient."""
    return {str(key): value for key, value in meta.items() if str(key) in GEOMETRY}


def require_file(path: str | os.PathLike, advice: str = "Check the path.") -> int:
    """Refuse what is no file: nothing, a folder, a link to nothing, a pipe (which would be waited for), a device.

    Args:
        path: the file.
        advice: what to do, for the message.

    Returns:
        Its size in bytes.

    Raises:
        DataError: when it is none.

    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise DataError(f"{os.fspath(path)} is not there. {advice}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{os.fspath(path)!s} cannot be read ({reason}). Check the path and its permissions."
        ) from error
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
        raise DataError(f"{os.fspath(path)} cannot be read (it is {kind}, and no file). {advice}")
    return status.st_size


def is_there(path: Path) -> bool:
    """Whether a name is taken, be it by a link to nothing: that is damage to be told, not an absent file."""
    return os.path.lexists(path)


def list_folder(folder: str | os.PathLike) -> list[Path]:
    """What is in a folder, in no order.

    Raises:
        DataError: when it cannot be listed.

    """
    try:
        entries = list(Path(folder).iterdir())
    except OSError as error:
        raise _unlisted(error, folder) from error
    if not os.access(folder, os.X_OK):
        raise _unlisted(PermissionError(13, "no permission to enter it"), folder)
    return entries


def walk_folder(folder: str | os.PathLike) -> Iterator[tuple[str, list[str], list[str]]]:
    """As ``os.walk``, with names in order; a folder that cannot be listed is an error, and not passed over.

    Links to folders are not followed, so that a folder which holds itself has an end.

    Raises:
        DataError: when a folder cannot be listed.

    """

    def tell(error: OSError) -> None:
        raise _unlisted(error, error.filename or folder) from error

    for parent, folders, files in os.walk(os.fspath(folder), onerror=tell):
        folders.sort()
        yield parent, folders, sorted(files)


def _unlisted(error: OSError, folder: str | os.PathLike) -> DataError:
    return DataError(
        f"{os.fspath(folder)} cannot be listed ({error.strerror or error}). Check that the folder is there, and its"
        " permissions."
    )


def check_voxels(where: str | os.PathLike, shape: Sequence[int]) -> None:
    """Refuse a volume that is empty, or larger than any CT, before memory is asked for.

    Raises:
        DataError: names the file, the size and the limit.
        ConfigError: when CTAN_MAX_VOXELS is no number.

    """
    size = [int(n) for n in shape]
    shown = " x ".join(map(str, size))
    if not size or min(size) < 1:
        raise DataError(f"{where}: a volume of {shown or 'no'} voxels is empty. Get the file again.")
    limit = _max_voxels()
    if prod(size) > limit:
        raise DataError(
            f"{where}: {shown} voxels are more than the {limit} that are read. Where the file is right, set the"
            " environment variable CTAN_MAX_VOXELS to a higher number; otherwise get it again."
        )


def _max_voxels() -> int:
    text = os.environ.get("CTAN_MAX_VOXELS", "")
    try:
        return int(text) if text else MAX_VOXELS
    except ValueError:
        raise ConfigError(f"CTAN_MAX_VOXELS must be a number of voxels, got {text!r}.") from None


def check_geometry(where: str | os.PathLike, affine: np.ndarray, shape: Sequence[int]) -> None:
    """Refuse voxels of no size or of a size that no scanner makes, and axes that lie in one plane.

    Args:
        where: what the error names.
        affine: ``[4, 4]``, from voxel indices to mm.
        shape: of the volume.

    Raises:
        DataError: names the file and what is wrong.

    """
    columns = np.asarray(affine, dtype=np.float64)[:3, :3]
    if not np.isfinite(affine).all():
        raise DataError(f"{where}: its geometry is not finite. Get the file again, or export it anew.")
    # Squares of absurd numbers overflow to infinity, which is absurd too.
    with np.errstate(over="ignore"):
        spacing = np.linalg.norm(columns, axis=0)
        extent = spacing * np.asarray(shape[:3], dtype=np.float64)
    if spacing.min() < MIN_SPACING_MM or spacing.max() > MAX_SPACING_MM or extent.max() > MAX_EXTENT_MM:
        shown = " x ".join(f"{s:.4g}" for s in spacing)
        raise DataError(
            f"{where}: voxels of {shown} mm in a volume of {' x '.join(map(str, shape[:3]))}: no scanner makes these"
            f" ({MIN_SPACING_MM:g} to {MAX_SPACING_MM:g} mm, at most {MAX_EXTENT_MM / 1000:g} m wide). Set its voxel"
            " size right, or export it anew."
        )
    if abs(np.linalg.det(columns / spacing)) < MIN_DETERMINANT:
        raise DataError(f"{where}: its three axes lie in one plane. Set its orientation right, or export it anew.")


def check_finite(where: str | os.PathLike, array: np.ndarray) -> None:
    """Refuse NaN and infinite values, and what becomes so in float32: they would spread over all computed from them.

    Raises:
        DataError: says how many there are.

    """
    # Minimum and maximum carry NaN along, and need no second array of the volume's size.
    if array.dtype.kind == "f" and array.size and not np.isfinite([array.min(), array.max()]).all():
        count = np.count_nonzero(~np.isfinite(array))
        raise DataError(f"{where}: {count} of {array.size} values are NaN or infinite. Set them right in the file.")
    if array.dtype.kind == "f" and array.size and max(-float(array.min()), float(array.max())) > MAX_VALUE:
        raise DataError(
            f"{where}: values up to {max(-float(array.min()), float(array.max())):g} are larger than float32 holds. Set"
            " them right in the file."
        )
