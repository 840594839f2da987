# SPDX-License-Identifier: Apache-2.0
"""Broken folders of DICOM CT slices."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from harness import Wrong
from hypothesis import strategies as st
from patients import put, save
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, JPEG2000Lossless, RLELossless

from ctan_networks.datasets.case_reader import CaseReader
from ctan_networks.datasets.inference_cases import inference_list
from ctan_networks.radiotherapy.dicom.write_ct import write_ct_series

SHAPE = (36, 33, 4)


def expected(folder: Path, slices: int) -> np.ndarray | None:
    """HU by the bytes of uncompressed slices, sorted along z; None where the files say more than this knows."""
    planes = []
    for file in sorted(folder.iterdir()):
        if not file.is_file():  # a pipe would be waited for
            continue
        try:
            data = pydicom.dcmread(file)
            if data.Modality != "CT" or "LOCALIZER" in (data.get("ImageType") or ()):
                continue
            if data.file_meta.TransferSyntaxUID.is_compressed or not data.file_meta.TransferSyntaxUID.is_little_endian:
                return None
            axes = [round(float(v)) for v in data.ImageOrientationPatient]
            if axes != [1, 0, 0, 0, 1, 0] or data.BitsAllocated != 16:
                return None
            kind = "<i2" if data.PixelRepresentation else "<u2"
            pixels = np.frombuffer(data.PixelData[: data.Rows * data.Columns * 2], kind).reshape(
                data.Rows, data.Columns
            )
            stored = 16 - data.BitsStored
            if stored:
                return None
            hu = pixels * float(data.get("RescaleSlope", 1)) + float(data.get("RescaleIntercept", 0))
            planes.append((float(data.ImagePositionPatient[2]), hu.T))
        except Exception:  # noqa: BLE001  what this cannot read, it says nothing of
            return None
    if len(planes) != slices:
        return None
    return np.stack([plane for _, plane in sorted(planes, key=lambda p: p[0])], axis=2)


def read(folder: Path) -> str:
    items = inference_list(folder)
    assert len(items) == 1
    array, meta = CaseReader().get_data(Path(items[0]["image"]))
    if array.ndim != 3 or not np.isfinite(array).all():
        raise Wrong(f"shape {array.shape}, or values that are not finite")
    spacing = np.linalg.norm(np.asarray(meta["affine"])[:3, :3], axis=0)
    if not (np.isfinite(meta["affine"]).all() and spacing.min() > 1e-3 and spacing.max() < 1e3):
        raise Wrong(f"affine {meta['affine']}")
    wanted = expected(folder, array.shape[2])
    if wanted is not None and (wanted.shape != array.shape or not np.allclose(wanted, array, rtol=1e-5, atol=1e-3)):
        raise Wrong("other voxels than the bytes of the slices")
    return "read"


@pytest.fixture
def series(tmp_path):
    folder = tmp_path / "template"
    hu = np.random.default_rng(0).integers(-1000, 2000, SHAPE).astype(np.float32)
    write_ct_series(
        folder, hu, np.diag([1.5, 2.0, 3.0, 1.0]), name="Phantom^Fuzz", patient_id="ID-1", date="20200101120000"
    )
    (folder / "notes.txt").write_text("not DICOM\n")
    return folder


def us(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}H", *values)


SHORTS = [us(0), us(1), us(8), us(16), us(32), us(33), us(36), us(64), us(65535), us(8, 8), b"", b"\x01", None]
DECIMALS = [
    b"0",
    b"-1",
    b"nan",
    b"inf",
    b"-inf",
    b"1e30",
    b"1e-30",
    b"1e400",
    b"abc",
    b"",
    b"1\\2",
    b"1_0",
    b"\xff",
    None,
]
VALUES: dict[str, list[bytes | None]] = {
    "Rows": SHORTS,
    "Columns": SHORTS,
    "BitsAllocated": SHORTS,
    "BitsStored": SHORTS,
    "HighBit": SHORTS,
    "PixelRepresentation": SHORTS,
    "SamplesPerPixel": SHORTS,
    "PhotometricInterpretation": [b"RGB", b"PALETTE COLOR", b"YBR_FULL_422", b"x", b"", None],
    "NumberOfFrames": [b"0", b"-1", b"2", b"2147483647", b"1e9", b"x", b"1.5", b""],
    "PixelSpacing": [
        b"0\\0", b"-1\\1", b"nan\\1", b"inf\\1", b"1e30\\1", b"1e-30\\1", b"1", b"1\\2\\3", b"a\\b", b"", None
    ],
    "ImagePositionPatient": [
        b"nan\\0\\0", b"0\\0\\inf", b"0\\0", b"0\\0\\0", b"0\\0\\1e30", b"a\\b\\c", b"1e300\\0\\3", b"", None
    ],
    "ImageOrientationPatient": [
        b"0\\0\\0\\0\\0\\0", b"1\\0\\0\\1\\0\\0", b"nan\\0\\0\\0\\1\\0", b"1\\0\\0\\0\\1", b"9\\0\\0\\0\\9\\0",
        b"0.7\\0.7\\0\\-0.7\\0.7\\0", b"1\\0\\0\\0\\0\\1", b"-1\\0\\0\\0\\1\\0", b"x\\0\\0\\0\\1\\0", b"", None,
    ],
    "RescaleSlope": DECIMALS,
    "RescaleIntercept": DECIMALS,
    "Modality": [b"MR", b"", b"CT\\MR", b"\xff\xfe", None],
    "SeriesInstanceUID": [b"1.2.3", b"", b"x", b"1" * 100, b"\xff", b"1.2\\1.3", None],
    "SOPClassUID": [b"1.2.840.10008.5.1.4.1.1.2.1", b"", b"x", None],
    "ImageType": [b"LOCALIZER", b"ORIGINAL\\PRIMARY\\LOCALIZER", b"", None],
    "SpecificCharacterSet": [b"ISO 2022 IR 87", b"nonsense", b"\xff", b""],
    "PatientName": [b"\xff\xfe^\x1b$B", b""],
    "FrameOfReferenceUID": [b"1.9", b"", None],
    "PixelData": [b"", b"\x00", b"\xff" * 144, b"\x00" * 10_000, b"\xfe\xff\x00\xe0\x00\x00\x00\x00" * 3, None],
}  # fmt: skip
HOWS = (
    "",
    "",
    "",
    "",
    "",
    "deflated",
    "deflate bomb",
    "big endian",
    "rle",
    "jpeg 2000",
    "says rle",
    "says jpeg",
    "nested",
)
CHANGES = st.tuples(
    st.lists(
        st.sampled_from(sorted(VALUES)).flatmap(lambda key: st.tuples(st.just(key), st.sampled_from(VALUES[key]))),
        max_size=2,
    ),
    st.sampled_from(["one", "one", "all"]),
    st.sampled_from(HOWS),
)


def change(folder: Path, drawn: tuple) -> str:
    """Put values into the header of one slice or of all, and store it in another way."""
    fields, which, how = drawn
    files = sorted(folder.glob("*.dcm"))
    for file in files if which == "all" else files[1:2]:
        data = pydicom.dcmread(file)
        for name in data.file_meta, data:
            for element in list(name):
                element.value  # noqa: B018  decode before bytes are put in
        if how in ("rle", "jpeg 2000"):
            data.compress(RLELossless if how == "rle" else JPEG2000Lossless, generate_instance_uid=False)
        for key, value in fields:
            put(data, key, value)
        _store(file, data, how)
    return f"{which}: {[(k, v if v is None else v[:40]) for k, v in fields]} {how}"


def _store(file: Path, data: pydicom.Dataset, how: str) -> None:
    if how == "nested":
        # Sequences in sequences, deeper than Python's stack.
        save(data, file)
        item = b"\x08\x00\x15\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
        content = file.read_bytes()
        at = content.index(b"\x08\x00\x60\x00CS")
        file.write_bytes(content[:at] + item * 3000 + content[at:])
        return
    syntaxes = {"deflated": DeflatedExplicitVRLittleEndian, "big endian": ExplicitVRBigEndian, "says rle": RLELossless}
    save(data, file)
    if how in ("deflated", "deflate bomb"):
        meta = bytearray(file.read_bytes())
        start = meta.index(b"\x08\x00\x05\x00CS") if b"\x08\x00\x05\x00CS" in meta else meta.index(b"\x08\x00")
        body = bytes(meta[start:])
        head = bytes(meta[:start]).replace(b"1.2.840.10008.1.2.1\x00", b"1.2.840.10008.1.2.1.99")
        head = head.replace(b"\x02\x00\x10\x00UI\x14\x00", b"\x02\x00\x10\x00UI\x16\x00")
        packer = zlib.compressobj(1, zlib.DEFLATED, -15)
        parts = [packer.compress(body)]
        if how == "deflate bomb":
            # An element that nobody reads, of 3 GB.
            parts.append(packer.compress(b"\xfc\xff\xfc\xffOB\x00\x00" + struct.pack("<I", 3 * 10**9)))
            parts.append(packer.flush(zlib.Z_FULL_FLUSH))
            # The same megabyte of zeros again and again: after a full flush each comes out the same.
            block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
            parts.append(block * 3000)
        file.write_bytes(head + b"".join(parts) + packer.flush())
    elif how in syntaxes or how == "says jpeg":
        uid = {"big endian": b"1.2.840.10008.1.2.2", "says rle": b"1.2.840.10008.1.2.5"}.get(
            how, b"1.2.840.10008.1.2.4.70"
        )
        content = file.read_bytes()
        old = b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\x00"
        new = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(uid) + len(uid) % 2) + uid + b"\x00" * (len(uid) % 2)
        file.write_bytes(content.replace(old, new, 1))


def test_dicom_ct(fuzz, series):
    fuzz("dicom ct", series, read, change, CHANGES)
