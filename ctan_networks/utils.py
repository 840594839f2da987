# SPDX-License-Identifier: Apache-2.0
"""Small helpers that know nothing of networks, data sets or bundles."""

from __future__ import annotations

import os
import re
import tempfile
import time
import zipfile
import zlib
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from ctan_networks.errors import DataError

__all__ = [
    "archive_damage",
    "atomic_path",
    "case_name",
    "derive_seed",
    "file_name",
    "name_of_image",
    "remove_leftovers",
    "result_path",
    "shortened",
]

IMAGE_SUFFIXES = frozenset(
    ".nii .nrrd .mha .mhd .csv .dcm .jpg .jpeg .png .tif .tiff .bmp .webp".split()  # noqa: SIM905  easier to read
)

# What tells a temporary file from another hidden one.
TEMPORARY = "writing-"

# Bytes of a case's name in names of files: file systems take 255, of which ends such as a structure's name need some.
NAME_BYTES = 150


@contextmanager
def atomic_path(path: str | os.PathLike, durable: bool = False) -> Iterator[Path]:
    """Write a file so that it is there whole or not at all.

    Yields a temporary path in the folder of ``path`` (made if need be) with the same suffix; when the block ends it
    is renamed to ``path``, when the block raises it is removed and what stood at ``path`` before stays.

    Args:
        path: the file.
        durable: force it to the disk before and after it is renamed, so that this holds for a power cut too.

    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Libraries tell the format by the last one, or by ".nii.gz"; a name full of dots has more than fit.
    suffix = "".join(target.suffixes[-2 if target.suffix == ".gz" else -1 :])
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:40]}.{TEMPORARY}", suffix=suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; give the result what a plain open() would have given.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        if durable:
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, target)
        if durable:
            _sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def result_path(path: str | os.PathLike) -> Iterator[Path]:
    """As :py:func:`atomic_path`, for results: where the system refuses, the error names the file and says what to do.

    Raises:
        DataError: when the file cannot be written, as on a full disk.

    """
    try:
        with atomic_path(path) as temporary:
            yield temporary
    except OSError as error:
        raise DataError(
            f"{os.fspath(path)} cannot be written ({error.strerror or error}). Free space on the disk, see to the"
            " folder's permissions and to what has its name, or give another --output_dir."
        ) from error


def file_name(name: str) -> str:
    """A case's name, fit to be that of a file or folder anywhere: not empty, not hidden, no way out of the folder.

    Cases with different names may get the same one; see
    :py:func:`ctan_networks.data.case_list.refuse_same_names`.
    """
    return shortened(re.sub(r"^\.+", "_", re.sub(r"[^\w.-]+", "_", name)), NAME_BYTES) or "case"


def case_name(data: Mapping[Hashable, Any]) -> str:
    """The case's name, fit to be a file name; that of its image, which MONAI Label gives, where it has none."""
    return file_name(str(data.get("case") or name_of_image(str(data.get("image_path", "case")))))


def shortened(name: str, limit: int) -> str:
    """A name in at most ``limit`` bytes; one that is cut ends in a hash, so that two with the same beginning differ."""
    content = name.encode("utf-8", "surrogatepass")
    if len(content) <= limit:
        return name
    return f"{content[: limit - 9].decode('utf-8', 'ignore')}_{sha256(content).hexdigest()[:8]}"


def _sync_folder(folder: Path) -> None:
    # A rename is on the disk when its folder is. Not every system can open a folder.
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def archive_damage(file: str | os.PathLike) -> str:
    """What is wrong with a file that ``torch.save`` wrote, in a few words; empty when it is whole.

    It is a zip archive with a checksum for each tensor, which ``torch.load`` does not look at.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            first = archive.testzip()
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        return f"cut short or of another kind ({error})"
    return f"damaged in {first}" if first else ""


def remove_leftovers(folder: str | os.PathLike[str], name: str = "", age: float = 0.0) -> int:
    """Remove temporary files of :py:func:`atomic_path` that a killed process left behind.

    Args:
        folder: where they lie.
        name: of the file that they were to become; empty: of any file.
        age: only those that have not been written to for so many seconds, as another process may be at work.

    Returns:
        How many were removed.

    """
    removed = 0
    pattern = re.compile(rf"\.{re.escape(name[:40]) if name else '.+'}\.{TEMPORARY}[a-z0-9_]{{8}}(\..*)?")
    # A folder that is not there, or cannot be listed, is told of by whoever writes to it.
    with suppress(OSError), os.scandir(os.fspath(folder)) as entries:
        for entry in entries:
            # It may go while it is looked at.
            with suppress(OSError):
                if pattern.fullmatch(entry.name) and time.time() - entry.stat().st_mtime >= age:
                    os.unlink(entry.path)
                    removed += 1
    return removed


def derive_seed(*parts: object) -> int:
    """A 63-bit seed that depends on all ``parts`` (by their ``str``), the same on every machine."""
    # Names of files need not be Unicode.
    digest = sha256("\x1f".join(str(p) for p in parts).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "little") & (2**63 - 1)


def name_of_image(path: str | os.PathLike) -> str:
    """The name of an image file or of a folder of slices, without the suffix of an image format."""
    name = Path(path).name
    base = name.removesuffix(".gz")
    suffix = Path(base).suffix
    return base.removesuffix(suffix) if suffix.lower() in IMAGE_SUFFIXES else name
