# SPDX-License-Identifier: Apache-2.0
"""Small helpers that know nothing of networks, data sets or bundles."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

__all__ = ["atomic_path", "derive_seed", "name_of_image"]

IMAGE_SUFFIXES = frozenset(
    ".nii .nrrd .mha .mhd .csv .dcm .jpg .jpeg .png .tif .tiff .bmp".split()  # noqa: SIM905  easier to read
)


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Write a file so that it is there whole or not at all.

    Yields a temporary path in the folder of ``path`` (made if need be) with the same suffixes; when the block ends it
    is renamed to ``path``, when the block raises it is removed and what stood at ``path`` before stays.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    suffix = "".join(target.suffixes)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:40]}.", suffix=suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; give the result what a plain open() would have given.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def derive_seed(*parts: object) -> int:
    """A 63-bit seed that depends on all ``parts`` (by their ``str``), the same on every machine."""
    digest = sha256("\x1f".join(str(p) for p in parts).encode()).digest()
    return int.from_bytes(digest[:8], "little") & (2**63 - 1)


def name_of_image(path: str | os.PathLike) -> str:
    """The name of an image file or of a folder of slices, without the suffix of an image format."""
    name = Path(path).name
    base = name.removesuffix(".gz")
    suffix = Path(base).suffix
    return base.removesuffix(suffix) if suffix.lower() in IMAGE_SUFFIXES else name
