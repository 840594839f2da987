# SPDX-License-Identifier: Apache-2.0
"""Broken images, label maps and arrays of one's own data sets."""

from __future__ import annotations

import ast
import io
import re
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from harness import Wrong
from hypothesis import strategies as st
from PIL import Image
from test_fuzz_nifti import expected as expected_nifti

from ctan_networks.datasets.table.reader import TaskReader

SIDES = (24, 20)


def expected_array(file: Path) -> np.ndarray:
    """The array by NumPy's format description: magic, version, length of the header, a dictionary, the values."""
    content = file.read_bytes()
    if content[:6] != b"\x93NUMPY" or content[6] not in (1, 2, 3):
        raise Wrong(f"{file.name} was read without its magic")
    wide = 2 if content[6] == 1 else 4
    length = struct.unpack("<H" if wide == 2 else "<I", content[8 : 8 + wide])[0]
    header = ast.literal_eval(content[8 + wide : 8 + wide + length].decode("latin-1").strip())
    dtype, shape = np.dtype(header["descr"]), header["shape"]
    count = int(np.prod(shape, dtype=object))
    values = content[8 + wide + length :][: count * dtype.itemsize]
    if len(values) < count * dtype.itemsize:
        raise Wrong(f"{file.name} was read, with {len(values)} bytes for {count} values")
    return np.frombuffer(values, dtype).reshape(shape, order="F" if header["fortran_order"] else "C")


def read(folder: Path) -> str:
    """As image and as label map; whatever is read has the values that are stored."""
    for name, dims, channels in (
        ("one.nii.gz", 3, 1),
        ("two.nii", 3, 2),
        ("map.nii.gz", 3, None),
        ("rgb.png", 2, 3),
        ("deep.png", 2, 1),
        ("palette.png", 2, None),
        ("grey.tif", 2, None),
        ("image.npy", 2, 1),
        ("map.npy", 2, None),
    ):
        file = folder / name
        array, _ = TaskReader(dims, channels).get_data(file)
        if array.dtype.kind not in "biuf" or array.ndim not in (dims, dims + 1):
            raise Wrong(f"{name}: {array.dtype} {array.shape}")
        if channels is not None and not np.isfinite(array).all():
            raise Wrong(f"{name} has values that are not finite")
        if name == "one.nii.gz":
            compare(name, array, expected_nifti(file))
        elif name.endswith(".npy"):
            compare(name, array, np.swapaxes(expected_array(file), 0, 1))
    return "read"


def compare(name: str, array: np.ndarray, wanted: np.ndarray) -> None:
    if array.shape != wanted.shape or not np.allclose(array, wanted, rtol=1e-5, equal_nan=True):
        raise Wrong(f"{name} has other values than its bytes")


@pytest.fixture
def template(tmp_path):
    folder = tmp_path / "template"
    folder.mkdir()
    rng = np.random.default_rng(0)
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    volume = rng.normal(0, 100, (6, 5, 4, 2)).astype(np.float32)
    nib.save(nib.Nifti1Image(volume[..., 0], affine), folder / "one.nii.gz")
    nib.save(nib.Nifti1Image(volume, affine), folder / "two.nii")
    nib.save(nib.Nifti1Image(rng.integers(0, 3, (6, 5, 4)).astype(np.uint8), affine), folder / "map.nii.gz")
    Image.fromarray(rng.integers(0, 256, (*SIDES, 3)).astype(np.uint8)).save(folder / "rgb.png")
    Image.fromarray(rng.integers(0, 65536, SIDES).astype(np.uint16)).save(folder / "deep.png")
    palette = Image.fromarray(rng.integers(0, 4, SIDES).astype(np.uint8), mode="P")
    palette.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0, 0, 0, 200])
    palette.save(folder / "palette.png")
    Image.fromarray(rng.random(SIDES).astype(np.float32)).save(folder / "grey.tif")
    np.save(folder / "image.npy", rng.random(SIDES).astype(np.float32))
    np.save(folder / "map.npy", rng.integers(0, 3, SIDES).astype(np.uint8))
    return folder


DESCRS = ["<f4", ">f4", "<f8", "|u1", "<i8", "|b1", "|O", "<c8", "<U9", "<M8[s]", "|V8", [("a", "<f4")], "x", 7]
SHAPES = [
    SIDES, (), (5,), (0, 5), (-1, 5), (2**40, 2**40), (40000, 40000), (2**63, 1), (24, 20, 1), (1, 1, 1, 1),
    (24, 20, 3), (480, 1), (1, 480), ("a", 2), None, [24, 20], (24.0, 20), True,
]  # fmt: skip
HEADERS = st.fixed_dictionaries(
    {"descr": st.sampled_from(DESCRS), "fortran_order": st.sampled_from([False, True, 3, "no"])},
    optional={"shape": st.sampled_from(SHAPES), "more": st.just(1)},
)
VERSIONS = st.sampled_from([(1, 0), (2, 0), (3, 0), (0, 0), (9, 9)])
BODIES = st.sampled_from(["whole", "none", "short", "nan", "long"])
CHANGES = st.tuples(st.sampled_from(["image.npy", "map.npy"]), HEADERS, VERSIONS, BODIES)


def change(folder: Path, drawn: tuple) -> str:
    """Write an array file by hand."""
    name, header, (major, minor), body = drawn
    text = re.sub(r"\s+", " ", repr(header)).encode() + b"\n"
    length = struct.pack("<H", len(text)) if major == 1 else struct.pack("<I", len(text))
    values = np.zeros(SIDES, np.float32)
    if body == "nan":
        values[3, 4] = np.nan
    content = {"none": b"", "short": values.tobytes()[:-1], "long": values.tobytes() * 9}.get(body, values.tobytes())
    out = io.BytesIO(b"\x93NUMPY" + bytes([major, minor]) + length + text + content)
    (folder / name).write_bytes(out.getvalue())
    return f"{name} {header} {major}.{minor} {body}"


def test_task_reader(fuzz, template):
    fuzz("images and label maps of one's own", template, read, change, CHANGES)
