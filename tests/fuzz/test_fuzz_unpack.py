# SPDX-License-Identifier: Apache-2.0
"""Broken and hostile archives of bundles."""

from __future__ import annotations

import shutil
import struct
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest
from corrupt import disarm, files_below
from harness import Wrong
from hypothesis import strategies as st

from ctan_networks.errors import DataError
from ctan_networks.tools.packing.unpack import unpack_bundle

CONTENT = {
    "b/LICENSE": b"Apache-2.0\n",
    "b/configs/train.json": b"{}\n" * 50,
    "b/models/model.pt": bytes(range(256)) * 8,
}


def write_zip(file: Path, entries: list[tuple[zipfile.ZipInfo, bytes]]) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for info, content in entries:
            archive.writestr(info, content)


def entries() -> list[tuple[zipfile.ZipInfo, bytes]]:
    sums = "".join(f"{sha256(content).hexdigest()}  {name[2:]}\n" for name, content in sorted(CONTENT.items()))
    found = []
    for name, content in {**CONTENT, "b/SHA256SUMS": sums.encode()}.items():
        info = zipfile.ZipInfo(name)
        info.compress_type = zipfile.ZIP_DEFLATED
        found.append((info, content))
    return found


@pytest.fixture
def packed(tmp_path):
    folder = tmp_path / "template"
    folder.mkdir()
    write_zip(folder / "b.zip", entries())
    return folder


def read(folder: Path) -> str:
    out = folder.parent / "out"
    shutil.rmtree(out, ignore_errors=True)
    disarm("list")
    before = {p: p.lstat().st_mtime_ns for p in folder.parent.rglob("*")}
    try:
        bundle = unpack_bundle(folder / "b.zip", out)
    except DataError:
        if out.exists() and any(out.iterdir()):
            raise Wrong(f"refused, and left {[p.name for p in out.iterdir()]}") from None
        raise
    finally:
        strange = {p for p in folder.parent.rglob("*") if p not in before and out not in (p, *p.parents)}
        if strange:
            raise Wrong(f"written outside: {strange}")
    if bundle.parent != out or any(p.is_symlink() for p in out.rglob("*")):
        raise Wrong(f"{bundle} is not in {out}, or has links")
    sums = dict(reversed(line.split("  ", 1)) for line in (bundle / "SHA256SUMS").read_text().splitlines())
    for file in files_below(bundle):
        name = file.relative_to(bundle).as_posix()
        if name != "SHA256SUMS" and sums.get(name) != sha256(file.read_bytes()).hexdigest():
            raise Wrong(f"{name} is not what SHA256SUMS says")
    return "read"


NAMES = st.sampled_from(
    ["../x", "b/../../x", "/tmp/x", "b/..", "b/", "b", ".", "./b/x", "b//x", "b\\x", "C:/x", "c/x", "b/LICENSE",
     "b/LICENSE/x",
     "b/\u00e4", "b/" + "n" * 300, "b/" + "d/" * 600 + "x", "b/a\nb", "b/\x1b[31m", "b/a\0b", "", " ", "b/SHA256SUMS",
     "b/con", "b/CONFIGS/train.json", "~/x", "b/%s%n"]
)  # fmt: skip
ENTRY = st.tuples(
    NAMES,
    st.sampled_from([b"x", b"", b"../../etc/passwd", b"\xff\xfe", b"abc  LICENSE\n", b"no sums at all"]),
    st.sampled_from([0, 0, 0o120777, 0o040755, 0o020666, 0o104755, 0o010644]),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]),
)
PATCHES = st.sampled_from(
    [
        "",
        "",
        "",
        "size",
        "method",
        "encrypted",
        "many",
        "bomb",
        "overlap",
        "count",
        "directory",
        "zip64",
        "comment",
        "sums",
    ]
)
CHANGES = st.tuples(st.lists(ENTRY, max_size=2), PATCHES, st.integers(0, 2**32 - 1))


def change(folder: Path, drawn: tuple) -> str:
    """More entries in the archive, and a directory that lies."""
    more, patch, number = drawn
    file = folder / "b.zip"
    made = entries()
    for name, content, mode, method in more:
        info = zipfile.ZipInfo("x")
        info.filename = name
        info.external_attr, info.compress_type, info.create_system = mode << 16, method, 3
        made.append((info, content))
    if patch == "bomb":
        info = zipfile.ZipInfo("b/zeros")
        info.compress_type = zipfile.ZIP_DEFLATED
        made.append((info, bytes(3 * 10**8)))
    if patch == "many":
        made += [(zipfile.ZipInfo(f"b/{k}"), b"") for k in range(20_000)]
    if patch == "sums":
        made[-1] = (made[-1][0], bytes([number % 256]) * 200)
    write_zip(file, made)
    content = bytearray(file.read_bytes())
    central = content.find(b"PK\x01\x02")
    end = content.rfind(b"PK\x05\x06")
    if patch == "size":
        content[central + 24 : central + 28] = struct.pack("<I", number)
    elif patch == "method":
        content[central + 10 : central + 12] = struct.pack("<H", number % 65536)
    elif patch == "encrypted":
        content[central + 8] |= 1
        content[6] |= 1
    elif patch == "overlap":
        second = content.find(b"PK\x01\x02", central + 4)
        content[second + 42 : second + 46] = content[central + 42 : central + 46]
    elif patch == "count":
        content[end + 8 : end + 12] = struct.pack("<2H", number % 65536, number % 65536)
    elif patch == "directory":
        content[end + 12 : end + 20] = struct.pack("<2I", number, number // 7)
    elif patch == "zip64":
        content[end + 8 : end + 20] = b"\xff" * 12
    elif patch == "comment":
        content += bytes(number % 70_000)
    file.write_bytes(bytes(content))
    return f"{[(n[:40], c[:20], oct(m)) for n, c, m, _ in more]} {patch} {number}"


def test_unpack(fuzz, packed):
    fuzz("unpack", packed, read, change, CHANGES)
