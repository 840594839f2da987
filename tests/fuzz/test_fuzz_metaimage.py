# SPDX-License-Identifier: Apache-2.0
"""Broken MetaImage and NRRD volumes, which ITK reads."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
from harness import Wrong
from hypothesis import strategies as st

from ctan_networks.datasets.case_reader import CaseReader

pytest.importorskip("itk")

SHAPE = (7, 6, 5)
DTYPES = {"MET_SHORT": "<i2", "MET_USHORT": "<u2", "MET_UCHAR": "u1", "MET_CHAR": "i1", "MET_INT": "<i4"}
DTYPES |= {"MET_UINT": "<u4", "MET_FLOAT": "<f4", "MET_DOUBLE": "<f8"}
FILES = ("raw.mha", "packed.mha", "apart.mhd", "raw.nrrd", "packed.nrrd")


def expected(file: Path) -> np.ndarray | None:
    """A MetaImage by its text and bytes; None where the text says more than this knows."""
    content = file.read_bytes()
    header = {}
    while "ElementDataFile" not in header:
        line, _, content = content.partition(b"\n")
        key, _, value = line.decode("latin-1").partition("=")
        header[key.strip()] = value.strip()
    if header["ElementDataFile"].upper() != "LOCAL":
        content = (file.parent / header["ElementDataFile"]).read_bytes()
    if header.get("ElementType") not in DTYPES or header.get("ElementNumberOfChannels", "1") != "1":
        return None
    if any(
        header.get(key, "False")[:1] in ("T", "t", "1") for key in ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
    ):
        return None
    if header.get("BinaryData", "True")[:1] not in ("T", "t", "1") or "HeaderSize" in header:
        return None
    if header.get("CompressedData", "False")[:1] in ("T", "t", "1"):
        try:
            content = zlib.decompress(content[: int(header.get("CompressedDataSize", len(content)))])
        except zlib.error as error:
            raise Wrong(f"{file.name} was read, though {error}") from None
    shape = [int(n) for n in header["DimSize"].split()]
    count = math.prod(shape)
    data = np.frombuffer(content, DTYPES[header["ElementType"]], count=min(count, len(content)))
    if data.size < count:
        raise Wrong(f"{file.name} was read, with {data.size} of {count} voxels")
    return data.reshape(shape, order="F")


def read(folder: Path) -> str:
    for name in FILES:
        array, meta = CaseReader().get_data(folder / name)
        array = np.asarray(array)
        if array.ndim != 3 or not np.isfinite(array).all():
            raise Wrong(f"{name}: shape {array.shape} or values that are not finite")
        affine = np.asarray(meta["affine"], dtype=np.float64)
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        if not (np.isfinite(affine).all() and spacing.min() > 1e-4 and spacing.max() < 1e4):
            raise Wrong(f"{name}: affine {affine.tolist()}")
        wanted = expected(folder / name) if name.endswith(("mha", "mhd")) else None
        if wanted is not None and not np.array_equal(array, wanted.reshape(array.shape)):
            raise Wrong(f"{name}: other voxels than its bytes")
    return "read"


def mha(data: str, **extra: str) -> bytes:
    lines = {
        "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False", "TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "-10 20 30",
        "CenterOfRotation": "0 0 0", "ElementSpacing": "1.5 1.5 3", "DimSize": "7 6 5", "ElementType": "MET_SHORT",
        **extra, "ElementDataFile": data,
    }  # fmt: skip
    return "".join(f"{key} = {value}\n" for key, value in lines.items()).encode()


def nrrd(encoding: str) -> bytes:
    return (
        "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 7 6 5\nspace directions:"
        f" (1.5,0,0) (0,1.5,0) (0,0,3)\nkinds: domain domain domain\nendian: little\nencoding: {encoding}\nspace"
        " origin: (-10,20,30)\n\n"
    ).encode()


@pytest.fixture
def volumes(tmp_path):
    folder = tmp_path / "template"
    folder.mkdir()
    hu = np.random.default_rng(0).integers(-1000, 2000, SHAPE).astype("<i2").tobytes(order="F")
    packed = zlib.compress(hu)
    (folder / "raw.mha").write_bytes(mha("LOCAL") + hu)
    (folder / "packed.mha").write_bytes(
        mha("LOCAL", CompressedData="True", CompressedDataSize=str(len(packed))) + packed
    )
    (folder / "apart.mhd").write_bytes(mha("apart.raw"))
    (folder / "apart.raw").write_bytes(hu)
    (folder / "raw.nrrd").write_bytes(nrrd("raw") + hu)
    (folder / "packed.nrrd").write_bytes(nrrd("gzip") + gzip.compress(hu, mtime=0))
    return folder


META = {
    "ObjectType": ["Image", "Tube", "", "image"],
    "NDims": ["0", "2", "4", "-3", "1000000", "x", ""],
    "DimSize": [
        "0 6 5", "-7 6 5", "7 6", "7 6 5 1", "60000 60000 60000", "3000000000 1 1", "30000 30000 1", "5 6 7", "x", ""
    ],
    "ElementType": ["MET_FLOAT", "MET_DOUBLE", "MET_UCHAR", "MET_LONG_LONG", "MET_NONE", "x", ""],
    "ElementSpacing": ["0 1 1", "-1 1 1", "nan 1 1", "inf 1 1", "1e30 1 1", "1e-30 1 1", "1 1", "x y z", ""],
    "TransformMatrix": ["0 0 0 0 0 0 0 0 0", "1 0 0 1 0 0 0 0 1", "nan 0 0 0 1 0 0 0 1", "9 0 0 0 9 0 0 0 9", "1", ""],
    "Offset": ["nan 0 0", "inf 0 0", "1e300 0 0", "", "x"],
    "CompressedData": ["True", "False", "maybe", ""],
    "CompressedDataSize": ["0", "-1", "1", "99999999999", "1e30", "nan", "x", ""],
    "BinaryData": ["False", "x"],
    "HeaderSize": ["-1", "0", "10", "99999999", "-2"],
    "ElementNumberOfChannels": ["0", "-1", "3", "1000000000", "x"],
    "BinaryDataByteOrderMSB": ["True"],
    "ElementDataFile": [
        "LOCAL", "local", "LIST", "LIST 2", "nowhere.raw", "/etc/passwd", "../outside.raw", ".", "%s%s%s%n.raw 1 5 1",
        "%03d.raw 1 5 1", "apart.raw 1 2 3", "", "raw.mha", "/dev/zero",
    ],
    "Junk": ["x" * 70000, "\xff", "\0", "a = b"],
}  # fmt: skip
NRRD = {
    "type": ["float", "double", "uchar", "block", "long long", "x", ""],
    "dimension": ["0", "2", "4", "-1", "17", "1000", "x"],
    "sizes": ["0 6 5", "-7 6 5", "7 6", "60000 60000 60000", "30000 30000 1", "3000000000 1 1", "x", "5 6 7"],
    "space directions": [
        "(0,0,0) (0,1,0) (0,0,1)",
        "(nan,0,0) (0,1,0) (0,0,1)",
        "(1e30,0,0) (0,1,0) (0,0,1)",
        "none none none",
        "x",
    ],
    "space origin": ["(nan,0,0)", "(inf,0,0)", "(1,2)", "x"],
    "space": ["right-anterior-superior", "x", "left-posterior-superior-time"],
    "encoding": ["raw", "gzip", "bzip2", "ascii", "hex", "x"],
    "endian": ["big", "x"],
    "data file": ["/etc/passwd", "../x.raw", "apart.raw", "LIST", "%s%n.raw 1 5 1", "nowhere", "/dev/zero"],
    "line skip": ["1", "-1", "9999999"],
    "byte skip": ["-1", "1", "-2", "99999999999"],
}
CHANGES = st.sampled_from(FILES).flatmap(
    lambda name: st.tuples(
        st.just(name),
        st.lists(
            st.sampled_from(sorted(NRRD if name.endswith("nrrd") else META)).flatmap(
                lambda key: st.tuples(st.just(key), st.sampled_from((NRRD if name.endswith("nrrd") else META)[key]))
            ),
            min_size=1,
            max_size=3,
        ),
        st.sampled_from([0, 0, 0, 100_000_000]),
    )
)


def change(folder: Path, drawn: tuple) -> str:
    """Set lines of a header; zeros: exchange the data for a stream that has so many."""
    name, fields, zeros = drawn
    file = folder / name
    content = file.read_bytes()
    end = b"\n\n" if name.endswith("nrrd") else b"ElementDataFile"
    head, mark, rest = content.partition(end)
    lines = dict(
        line.split(": " if name.endswith("nrrd") else " = ", 1)
        for line in head.decode().splitlines()
        if ": " in line or " = " in line
    )
    first = "NRRD0004\n" if name.endswith("nrrd") else ""
    for key, value in fields:
        if key == "ElementDataFile":
            rest = b" = " + value.encode() + b"\n" + rest.split(b"\n", 1)[-1]
        else:
            lines[key] = value
    if zeros and "packed" in name:
        packed = gzip.compress(bytes(zeros), 1, mtime=0) if name.endswith("nrrd") else zlib.compress(bytes(zeros), 1)
        rest = (b"" if name.endswith("nrrd") else rest.split(b"\n", 1)[0] + b"\n") + packed
        if "CompressedDataSize" in lines:
            lines["CompressedDataSize"] = str(len(packed))
    between = ": " if name.endswith("nrrd") else " = "
    text = first + "\n".join(f"{key}{between}{value}" for key, value in lines.items())
    file.write_bytes(text.encode("utf-8", "replace") + (b"" if name.endswith("nrrd") else b"\n") + mark + rest)
    return f"{name}: {[(k, v[:60]) for k, v in fields]} and {zeros} zeros"


def test_metaimage_and_nrrd(fuzz, volumes):
    fuzz("metaimage, nrrd", volumes, read, change, CHANGES)
