# SPDX-License-Identifier: Apache-2.0
"""Seeded ways to break files and folders: bytes to bytes, and changes to what lies in a folder."""

from __future__ import annotations

import gzip
import os
import random
import re
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path

__all__ = ["BYTES", "TREES", "arm", "break_one", "disarm", "files_below"]

# What a number in a text file may be replaced by.
WORDS = (
    b"", b"nan", b"NaN", b"inf", b"-inf", b"-1", b"0", b"1e308", b"1e-308", b"-1e30", b"99999999999999999999",
    b"2147483648", b"4294967296", b"18446744073709551616", b"1_0", b"0x10", b"abc", b'"', b'"1', b"1,2", b"\xff\xfe",
    "\u0661".encode(), b"\x00", b"--5", b"1e5", b"1.5", b"+3", b" 7 ", b"%s%n", b"../../x", b"9" * 5000,
)  # fmt: skip
# What a binary number may be replaced by, in either byte order.
NUMBERS = [
    struct.pack(order + kind, value)
    for order in "<>"
    for kind, values in (
        ("h", (0, -1, 1, 32767, -32768)),
        ("i", (0, -1, 1, 2**31 - 1, -(2**31), 2**24)),
        ("q", (-1, 2**62)),
        ("f", (float("nan"), float("inf"), -1.0, 0.0, 1e30, 1e-30)),
        ("d", (float("nan"), float("inf"), 1e300)),
    )
    for value in values
]
# Whole files of another kind.
STRANGERS = (
    b"",
    b"\x00" * 512,
    b"\xff" * 4096,
    b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1234\n",
    b"PK\x05\x06" + b"\x00" * 18,
    gzip.compress(b"\x00" * 100_000, mtime=0),
    gzip.compress(b"hello", mtime=0),
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\xea\x60\x00\x00\xea\x60\x08\x02\x00\x00\x00" + b"\x00" * 40,
    b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xc0\x00\x11\x08\xea\x60\xea\x60\x03",
    b"\x00" * 128 + b"DICM",
    b"\x00" * 128 + b"DICM" + b"\x02\x00\x10\x00UI\x16\x001.2.840.10008.1.2.1.99" + b"\xed\xfd" + b"\x00" * 99,
    b"\x7fELF" + bytes(range(256)),
    b'{"a": 1}\n',
    b"a,b,c\n1,2,3\n",
    b",data\n",
    b"ObjectType = Image\nNDims = 3\nDimSize = 9 9 9\nElementType = MET_SHORT\nElementDataFile = LOCAL\n",
    b"NRRD0004\ntype: short\ndimension: 3\nsizes: 30000 30000 30000\nencoding: raw\n\n",
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n",
)


def _flip(content: bytes, rng: random.Random, count: int, first: int = 0, end: int | None = None) -> bytes:
    changed = bytearray(content)
    stop = min(len(changed), end if end is not None else len(changed))
    for _ in range(count if stop > first else 0):
        changed[rng.randrange(first, stop)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _put(content: bytes, at: int, new: bytes) -> bytes:
    return content[:at] + new + content[at + len(new) :]


def _cut(content: bytes, rng: random.Random) -> tuple[int, int]:
    first = rng.randrange(len(content) + 1)
    return first, min(len(content), first + rng.choice([1, 2, 16, 512, 5000]))


def _replace_number(content: bytes, rng: random.Random) -> bytes:
    found = list(re.finditer(rb"-?[0-9][0-9.eE+-]*", content[:200_000]))
    if not found:
        return content + rng.choice(WORDS)
    match = rng.choice(found[: rng.choice([3, 30, len(found)])])
    return content[: match.start()] + rng.choice(WORDS) + content[match.end() :]


def _lines(content: bytes, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    k = rng.randrange(len(lines))
    how = rng.randrange(4)
    if how == 0:
        lines[k : k + 1] = [lines[k]] * 2
    elif how == 1:
        del lines[k]
    elif how == 2:
        lines.insert(k, b"")
    else:
        lines = [lines[0], *sorted(lines[1:], key=lambda _: rng.random())]
    return b"\n".join(lines)


def _move(content: bytes, rng: random.Random) -> bytes:
    first, end = _cut(content, rng)
    rest = content[:first] + content[end:]
    at = rng.randrange(len(rest) + 1)
    return rest[:at] + content[first:end] + rest[at:]


def _delete(content: bytes, rng: random.Random) -> bytes:
    first, end = _cut(content, rng)
    return content[:first] + content[end:]


def _repeat(content: bytes, rng: random.Random) -> bytes:
    first, end = _cut(content, rng)
    return content[:end] + content[first:end] * rng.choice([1, 2, 1000]) + content[end:]


def _anywhere(content: bytes, rng: random.Random, new: bytes) -> bytes:
    return _put(content, rng.randrange(max(1, len(content))), new)


BYTES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "empty": lambda content, rng: b"",
    "one byte": lambda content, rng: content[:1],
    "cut in the header": lambda content, rng: content[: rng.randrange(1, 512)],
    "cut anywhere": lambda content, rng: content[: rng.randrange(len(content) + 1)],
    "last bytes cut": lambda content, rng: content[: -rng.randrange(1, 9)],
    "first bytes cut": lambda content, rng: content[rng.randrange(1, 600) :],
    "one bit": lambda content, rng: _flip(content, rng, 1),
    "a bit of the header": lambda content, rng: _flip(content, rng, 1, 0, 400),
    "bits of the header": lambda content, rng: _flip(content, rng, 6, 0, 400),
    "many bits": lambda content, rng: _flip(content, rng, 200),
    "a number of the header": lambda content, rng: _put(content, rng.randrange(0, 400, 2), rng.choice(NUMBERS)),
    "a number": lambda content, rng: _anywhere(content, rng, rng.choice(NUMBERS)),
    "zeros": lambda content, rng: _anywhere(content, rng, b"\x00" * 512),
    "ones": lambda content, rng: _anywhere(content, rng, b"\xff" * 64),
    "noise": lambda content, rng: _anywhere(content, rng, rng.randbytes(300)),
    "all noise": lambda content, rng: rng.randbytes(rng.choice([10, 400, 5000])),
    "a block deleted": _delete,
    "a block moved": _move,
    "a block repeated": _repeat,
    "appended": lambda content, rng: content + rng.choice([b"\x00", b"\n", b",", rng.randbytes(999), content]),
    "byte order mark": lambda content, rng: b"\xef\xbb\xbf" + content,
    "utf-16": lambda content, rng: content[:50_000].decode("latin-1").encode("utf-16"),
    "crlf": lambda content, rng: content.replace(b"\n", b"\r\n"),
    "cr": lambda content, rng: content.replace(b"\n", b"\r"),
    "semicolons": lambda content, rng: content.replace(b",", b";"),
    "a number of the text": _replace_number,
    "lines": _lines,
    "gzipped": lambda content, rng: gzip.compress(content, 1, mtime=0),
    "another kind of file": lambda content, rng: rng.choice(STRANGERS),
}


def files_below(folder: Path) -> list[Path]:
    """Files in a folder and its sub-folders, in a fixed order."""
    return sorted(p for p in folder.rglob("*") if p.is_file())


# Path to what happens when Python is about to open or to list it, once. Modes would not do: root may open anything.
ARMED: dict[tuple[str, str], Callable[[], None]] = {}
LATER: list[tuple[tuple[str, str], Callable[[], None]]] = []


def _listen(event: str, args: tuple) -> None:
    if ARMED and event in ("open", "os.listdir", "os.scandir") and args and isinstance(args[0], str | os.PathLike):
        act = ARMED.pop(("open" if event == "open" else "list", os.fspath(args[0])), None)
        if act is not None:
            act()


def arm() -> None:
    """From now on files vanish, and may not be read, as the last :py:func:`break_one` says."""
    if LATER and not getattr(arm, "listening", False):
        sys.addaudithook(_listen)
        arm.listening = True  # type: ignore[attr-defined]
    ARMED.clear()
    ARMED.update(LATER)
    LATER.clear()


def disarm(kind: str) -> None:
    """What was armed for listing ("list") or opening ("open") does not happen any more."""
    for key in [key for key in ARMED if key[0] == kind]:
        del ARMED[key]


def _forbid() -> None:
    raise PermissionError(13, "Permission denied")


def _file(folder: Path, rng: random.Random, act: Callable[[Path], None]) -> None:
    file = rng.choice(files_below(folder))
    LATER.append((("open", str(file)), lambda: act(file)))


def _folder(folder: Path, rng: random.Random, act: Callable[[Path], None]) -> None:
    chosen = rng.choice([folder, *sorted(p for p in folder.rglob("*") if p.is_dir())])
    LATER.append((("list", str(chosen)), lambda: act(chosen)))


def _replaced(folder: Path, rng: random.Random, make: Callable[[Path], object]) -> None:
    file = rng.choice(files_below(folder))
    file.unlink()
    make(file)


def _outside(folder: Path) -> Path:
    other = folder.parent / "outside"
    other.mkdir(exist_ok=True)
    (other / "secret").write_bytes(b"not yours\n")
    return other


def _double(folder: Path, rng: random.Random) -> None:
    file = rng.choice(files_below(folder))
    shutil.copy(file, file.with_name(rng.choice(["copy_", "0", "\u00e4\u4e2d"]) + file.name))


def _swap(folder: Path, rng: random.Random) -> None:
    one, two = rng.choice(files_below(folder)), rng.choice(files_below(folder))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)


def _rename(folder: Path, rng: random.Random) -> None:
    file = rng.choice(files_below(folder))
    strange = rng.choice([b"\xff\xfe", b"a\nb", b"%s%n", b"\xc3\xa4", b"..", b" ", b"'\"", b"\x1b[31m", b"n" * 180])
    file.rename(os.fsdecode(os.fsencode(file.parent) + b"/" + strange + os.fsencode(file.name)))


def _rename_folder(folder: Path, rng: random.Random) -> None:
    folders = sorted(p for p in folder.rglob("*") if p.is_dir())
    if folders:
        chosen = rng.choice(folders)
        chosen.rename(os.fsdecode(os.fsencode(chosen.parent) + b"/\xff\xfe" + os.fsencode(chosen.name)))


def _loop(folder: Path, rng: random.Random) -> None:
    rng.choice(files_below(folder)).parent.joinpath("again").symlink_to(folder, target_is_directory=True)


TREES: dict[str, Callable[[Path, random.Random], None]] = {
    "a file is missing": lambda f, rng: _replaced(f, rng, lambda p: None),
    "a folder for a file": lambda f, rng: _replaced(f, rng, Path.mkdir),
    "a link to itself": lambda f, rng: _replaced(f, rng, lambda p: p.symlink_to(p)),
    "a link to nothing": lambda f, rng: _replaced(f, rng, lambda p: p.symlink_to(p.with_name("nowhere"))),
    "a link to a file outside": lambda f, rng: _replaced(f, rng, lambda p: p.symlink_to(_outside(f) / "secret")),
    "a link to a folder outside": lambda f, rng: _replaced(f, rng, lambda p: p.symlink_to(_outside(f))),
    "a link to endless zeros": lambda f, rng: _replaced(f, rng, lambda p: p.symlink_to("/dev/zero")),
    "a pipe": lambda f, rng: _replaced(f, rng, os.mkfifo),
    "a folder that holds itself": _loop,
    "a file twice": _double,
    "two files swapped": _swap,
    "a strange name": _rename,
    "a strange folder name": _rename_folder,
    "a file vanishes": lambda f, rng: _file(f, rng, lambda p: p.unlink(missing_ok=True)),
    "a folder vanishes": lambda f, rng: _folder(f, rng, shutil.rmtree),
    "a file that may not be read": lambda f, rng: _file(f, rng, lambda p: _forbid()),
    "a folder that may not be listed": lambda f, rng: _folder(f, rng, lambda p: _forbid()),
    "no folder": lambda f, rng: shutil.rmtree(f),
    "an empty folder": lambda f, rng: [p.unlink() for p in files_below(f)],  # type: ignore[func-returns-value]
}


def break_one(folder: Path, seed: str, trees: bool = True) -> str:
    """Break what lies in a folder in one or two ways that the seed says; returns how, in words."""
    rng = random.Random(seed)
    if trees and rng.random() < 0.25:
        name = rng.choice(sorted(TREES))
        TREES[name](folder, rng)
        # Which file vanishes is not seen in the folder.
        return f"{name} {[where.removeprefix(str(folder)) for (_, where), _ in LATER] or ''}".strip()
    said = []
    for _ in range(rng.choice([1, 1, 1, 2])):
        # Every kind of file alike: one table beside a thousand slices counts as much as a slice.
        kinds: dict[str, list[Path]] = {}
        for file in files_below(folder):
            kinds.setdefault(re.sub(r"\d+", "", file.name), []).append(file)
        file = rng.choice(kinds[rng.choice(sorted(kinds))])
        name = rng.choice(sorted(BYTES))
        file.write_bytes(BYTES[name](file.read_bytes(), rng))
        said.append(f"{file.name}: {name}")
    return "; ".join(said)
