# SPDX-License-Identifier: Apache-2.0
"""A packed bundle back to a folder, without trust in the archive."""

from __future__ import annotations

import lzma
import os
import shutil
import struct
import tempfile
import zipfile
import zlib
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ctan_networks.errors import DataError
from ctan_networks.reading import require_file
from ctan_networks.tools.packing.pack import NOT_PACKED, SUMS

__all__ = ["check_sums", "unpack_bundle"]

# A bundle's weights are some tens of MB; what unpacks to more than this is no bundle.
MAX_BYTES = 4 * 2**30
MAX_FILES = 10_000
CHUNK = 2**20
# An entry of the list: 46 bytes, and the path.
MAX_DIRECTORY = MAX_FILES * 512
# The end record with the longest comment.
END_BYTES = 22 + 65_535
# What the standard library raises for damaged archives; a NotImplementedError names a compression it does not know.
UNZIP_ERRORS = (
    OSError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    ValueError,
    OverflowError,
    IndexError,
    KeyError,
    NotImplementedError,
    RuntimeError,
)


def unpack_bundle(archive: str | os.PathLike, output_dir: str | os.PathLike = ".") -> Path:
    """Unpack a bundle, and check every file against its ``SHA256SUMS``.

    Nothing is written outside ``output_dir``, and nothing is there until all of it was checked.

    Args:
        archive: the zip.
        output_dir: folder in which the bundle's folder is made.

    Returns:
        The bundle's folder.

    Raises:
        DataError: when the file is no zip, holds a path outside of one folder, a link, an exported network or too much,
            lacks a file or has one that was changed, or when the folder is there already.

    """
    file = Path(archive)
    require_file(file)
    try:
        _check_directory(file)
        with zipfile.ZipFile(file) as zip_file:
            name = _check_entries(file, zip_file.infolist())
            target = Path(output_dir) / name
            if target.exists():
                raise DataError(f"{target} is there already. Move it away, or give another --output_dir.")
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".unpacking-") as workplace:
                _extract(file, zip_file, Path(workplace))
                check_sums(Path(workplace) / name)
                os.replace(Path(workplace) / name, target)
    except DataError:
        raise
    except UNZIP_ERRORS as error:
        raise DataError(f"{file} cannot be unpacked ({error}). Get the file again.") from error
    return target


def check_sums(bundle: str | os.PathLike) -> int:
    """Check the files of a bundle against its ``SHA256SUMS``.

    Args:
        bundle: its folder.

    Returns:
        Number of files.

    Raises:
        DataError: when the list or a file is missing, or a file was changed or is not on the list.

    """
    folder = Path(bundle)
    listed_in = folder / SUMS
    if not listed_in.is_file():
        raise DataError(f"{folder} has no {SUMS}: it was not made by pack.")
    try:
        lines = listed_in.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{listed_in} cannot be read ({error}). Get the bundle again.") from error
    known = {path: digest for digest, _, path in (line.partition("  ") for line in lines)}
    present = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {SUMS}
    for path in sorted(known.keys() | present):
        if path not in present:
            raise DataError(f"{folder / path} is missing. Get the bundle again.")
        if path not in known:
            raise DataError(f"{folder / path} is not in {SUMS}. Get the bundle again, or remove the file.")
        with (folder / path).open("rb") as file:
            digest = file_digest(file)
        if digest != known[path]:
            raise DataError(f"{folder / path} is not what was packed (another hash). Get the bundle again.")
    return len(known)


def file_digest(file: BinaryIO) -> str:
    """SHA-256 of what a file holds, a piece at a time."""
    digest = sha256()
    while block := file.read(CHUNK):
        digest.update(block)
    return digest.hexdigest()


def _check_directory(file: Path) -> None:
    """Refuse an archive whose list of files is longer than a bundle's, before all of it is read."""
    with file.open("rb") as archive:
        archive.seek(max(0, file.stat().st_size - END_BYTES))
        end = archive.read(END_BYTES)
    at = end.rfind(b"PK\x05\x06")
    # Beyond 65,535 files or 4 GB the numbers stand elsewhere (zip64), and here is the largest one.
    if at >= 0 and len(end) >= at + 22 and struct.unpack("<I", end[at + 12 : at + 16])[0] > MAX_DIRECTORY:
        raise DataError(f"{file} lists more files than a bundle can hold: not unpacked. Get the file again.")


def _check_entries(file: Path, entries: list[zipfile.ZipInfo]) -> str:
    """The one folder that all entries lie in."""
    tops = set()
    for entry in entries:
        path = PurePosixPath(entry.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in entry.filename or ":" in entry.filename:
            raise DataError(
                f"{file} holds the path {entry.filename[:200]!r}, which leads out of its folder: not unpacked."
            )
        if (entry.external_attr >> 16) & 0o170000 == 0o120000:
            raise DataError(f"{file} holds the symbolic link {entry.filename!r}: not unpacked.")
        if path.suffix.lower() in NOT_PACKED:
            raise DataError(
                f"{file} holds the exported network {entry.filename[:200]!r}, a program which pack leaves out: not"
                " unpacked. Get it without, and make one with python -m ctan_networks export."
            )
        tops.add(path.parts[0] if path.parts else "")
    if len(tops) != 1 or not entries:
        raise DataError(f"{file} must hold one folder, the bundle's; it holds {len(tops)} entries at its top.")
    if len(entries) > MAX_FILES or sum(entry.file_size for entry in entries) > MAX_BYTES:
        raise DataError(f"{file} unpacks to more than a bundle can hold ({len(entries)} files): not unpacked.")
    return tops.pop()


def _extract(file: Path, zip_file: zipfile.ZipFile, folder: Path) -> None:
    written = 0
    for entry in zip_file.infolist():
        if entry.is_dir():
            continue
        target = folder / entry.filename
        target.parent.mkdir(parents=True, exist_ok=True)
        with zip_file.open(entry) as source, open(target, "wb") as out:
            shutil.copyfileobj(source, out, CHUNK)
        # Sizes in the directory of a zip are what its maker wrote there.
        written += target.stat().st_size
        if written > MAX_BYTES:
            raise DataError(f"{file} unpacks to more than a bundle can hold: not unpacked.")
