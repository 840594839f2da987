# SPDX-License-Identifier: Apache-2.0
"""Broken NIfTI volumes and patients as folders of NIfTI."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from harness import Wrong
from hypothesis import strategies as st

from ctan_networks.datasets.case_reader import CaseReader

# Codes of NIfTI-1's datatype.
DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}


def expected(file: Path) -> np.ndarray:
    """The volume by NIfTI-1's header alone, with struct."""
    content = file.read_bytes()
    if file.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise Wrong(f"{file.name} was read, though {error}") from None
    order = "<" if 0 <= struct.unpack("<h", content[40:42])[0] <= 7 else ">"
    dim = struct.unpack(order + "8h", content[40:56])
    kind = struct.unpack(order + "h", content[70:72])[0]
    offset, slope, intercept = struct.unpack(order + "3f", content[108:120])
    if kind not in DTYPES or not 3 <= dim[0] <= 7 or min(dim[1 : dim[0] + 1]) < 1:
        raise Wrong(f"{file.name} was read, with type {kind} and dimensions {dim}")
    dtype = np.dtype(order + DTYPES[kind])
    start, count = int(offset), int(np.prod(dim[1 : dim[0] + 1], dtype=object))
    data = content[start : start + count * dtype.itemsize]
    if len(data) < count * dtype.itemsize:
        raise Wrong(f"{file.name} was read, with {len(data)} bytes of {count * dtype.itemsize}")
    array = np.frombuffer(data, dtype).reshape(dim[1 : dim[0] + 1], order="F")
    if slope and np.isfinite(slope):
        array = array * np.float64(slope) + np.float64(intercept if np.isfinite(intercept) else 0)
    return array.reshape(dim[1:4])


def check(file: Path, array: np.ndarray, meta: dict) -> None:
    if not np.isfinite(array).all():
        raise Wrong(f"{file.name} has values that are not finite")
    wanted = expected(file)
    if array.shape != wanted.shape or not np.allclose(array, wanted, rtol=1e-5, equal_nan=True):
        raise Wrong(f"{file.name} has other voxels than its bytes")
    affine = np.asarray(meta["affine"])
    if not (np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 1e-9):
        raise Wrong(f"{file.name} has the affine {affine.tolist()}")


def read(folder: Path) -> str:
    reader = CaseReader(["Bladder", "PTV"])
    for name in ("a.nii", "b.nii.gz"):
        check(folder / name, *reader.get_data(folder / name))
    patient = folder / "patient"
    check(patient / "ct.nii.gz", *reader.get_data(patient / "ct.nii.gz"))
    bits, meta = reader.get_data(patient)
    for k, name in enumerate(("Bladder", "PTV")):
        file = patient / f"{name}.nii.gz"
        if meta["present"][k] != file.exists():
            raise Wrong(f"{name}: present is {meta['present'][k]}")
        if meta["present"][k] and not np.array_equal((bits >> k) & 1, expected(file) > 0):
            raise Wrong(f"{name}: other voxels than its bytes")
    return "read"


@pytest.fixture
def volumes(tmp_path):
    folder = tmp_path / "template"
    (folder / "patient").mkdir(parents=True)
    rng = np.random.default_rng(0)
    hu = rng.integers(-1000, 2000, (9, 8, 7)).astype(np.int16)
    affine = np.diag([-1.5, -1.5, 3.0, 1.0])
    affine[:3, 3] = [10, 20, -300]
    nib.save(nib.Nifti1Image(hu.astype(np.float32), affine), folder / "a.nii")
    nib.save(nib.Nifti1Image(hu, affine), folder / "b.nii.gz")
    nib.save(nib.Nifti1Image(hu, affine), folder / "patient" / "ct.nii.gz")
    for name in ("Bladder", "PTV"):
        nib.save(nib.Nifti1Image((hu > 500).astype(np.uint8), affine), folder / "patient" / f"{name}.nii.gz")
    return folder


# Place of each field of NIfTI-1's header.
FIELDS = {
    "sizeof_hdr": (0, "i"), "dim0": (40, "h"), "dim1": (42, "h"), "dim2": (44, "h"), "dim3": (46, "h"),
    "dim4": (48, "h"), "dim7": (54, "h"), "datatype": (70, "h"), "bitpix": (72, "h"), "pixdim0": (76, "f"),
    "pixdim1": (80, "f"), "pixdim2": (84, "f"), "pixdim3": (88, "f"), "vox_offset": (108, "f"),
    "scl_slope": (112, "f"), "scl_inter": (116, "f"), "qform_code": (252, "h"), "sform_code": (254, "h"),
    "quatern_b": (256, "f"), "quatern_c": (260, "f"), "quatern_d": (264, "f"), "qoffset_x": (268, "f"),
    "srow_x0": (280, "f"), "srow_x1": (284, "f"), "srow_x3": (292, "f"), "srow_y1": (300, "f"), "srow_z2": (320, "f"),
    "magic": (344, "i"), "extension": (348, "i"), "voxel": (352, "f"), "voxel2": (360, "f"),
}  # fmt: skip
INTEGERS = st.sampled_from([0, -1, 1, 2, 3, 4, 5, 7, 8, 16, 32, 64, 128, 256, 512, 1792, 2304, 30000, 32767, -32768])
FLOATS = st.sampled_from(
    [0.0, -0.0, -1.0, 1e-3, 1e-9, 1.0, 352.0, 348.0, 353.5, 1e4, 1e9, 1e30, -1e30, float("nan"), float("inf")]
)
FIELD = st.sampled_from(sorted(FIELDS)).flatmap(
    lambda name: st.tuples(st.just(name), FLOATS if FIELDS[name][1] == "f" else INTEGERS)
)
CHANGES = st.tuples(
    st.sampled_from(["a.nii", "b.nii.gz", "patient/ct.nii.gz", "patient/PTV.nii.gz"]),
    st.lists(FIELD, min_size=1, max_size=4),
    st.sampled_from([0, 0, 0, 0, 1, 300 * 2**20]),
)


def change(folder: Path, drawn: tuple) -> str:
    """Set fields of a header, and append zeros; a compressed file has the right checksum again."""
    name, fields, zeros = drawn
    file = folder / name
    content = bytearray(gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes())
    for field, value in fields:
        at, kind = FIELDS[field]
        content[at : at + struct.calcsize(kind)] = struct.pack("<" + kind, value)
    if file.suffix == ".gz":
        packer = zlib.compressobj(1, zlib.DEFLATED, 31)
        block = bytes(min(zeros, 2**20))
        parts = [packer.compress(bytes(content))] + [packer.compress(block) for _ in range(zeros // max(1, len(block)))]
        file.write_bytes(b"".join(parts) + packer.flush())
    else:
        file.write_bytes(bytes(content) + bytes(min(zeros, 10**6)))
    return f"{name}: {fields} and {zeros} zeros"


def test_nifti(fuzz, volumes):
    fuzz("nifti", volumes, read, change, CHANGES)
