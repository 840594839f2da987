# SPDX-License-Identifier: Apache-2.0
"""What the fuzzer found, each fault by its smallest input."""

from __future__ import annotations

import gzip
import os
import random
import re
import shutil
import struct
import time
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from corrupt import BYTES, TREES
from patients import put, save, write_patient
from PIL import Image
from pydicom.uid import RLELossless
from test_fuzz_dicom_ct import _store as store_slice
from test_fuzz_metaimage import mha, nrrd
from test_fuzz_openkbp import STRUCTURES
from test_fuzz_openkbp import write_patient as write_openkbp
from test_fuzz_photos import png
from test_fuzz_unpack import entries, write_zip

from ctan_networks.data import MaskReader, PhotoReader, split_cases
from ctan_networks.data.case_list import natural_key, visible
from ctan_networks.data.tables import read_table
from ctan_networks.datasets.case_reader import CaseReader
from ctan_networks.datasets.ham10000.data_list import ham10000_list
from ctan_networks.datasets.ham10000.labels import read_labels
from ctan_networks.datasets.inference_cases import inference_list, prescribed_list
from ctan_networks.datasets.openkbp.data_list import openkbp_list
from ctan_networks.datasets.openkbp.files import read_sparse_csv, read_voxel_dimensions
from ctan_networks.datasets.openkbp.reader import OpenKBPReader
from ctan_networks.datasets.prostate.data_list import dicom_rt_list
from ctan_networks.datasets.stoic.data_list import stoic_list
from ctan_networks.datasets.stoic.phantoms import write_mha
from ctan_networks.datasets.table.data_list import case_table
from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom import rasterise as rasterising
from ctan_networks.radiotherapy.dicom.contour_dvh import contour_dvh
from ctan_networks.radiotherapy.dicom.rasterise import fill_contours, rasterise
from ctan_networks.radiotherapy.dicom.rtdose import read_dose
from ctan_networks.radiotherapy.dicom.rtstruct import Structure, read_structures
from ctan_networks.radiotherapy.dicom.stored_dvh import read_stored_dvhs
from ctan_networks.tools.packing.unpack import unpack_bundle

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
FRACTIONS = {"train": 0.6, "validation": 0.2, "test": 0.2}


def refused(call, *args, match: str = "") -> str:
    """The message of the error, which came soon and took little memory."""
    tracemalloc.start()
    started = time.process_time()
    try:
        with pytest.raises(DataError, match=match) as caught:
            call(*args)
        assert tracemalloc.get_traced_memory()[1] < 2**29
        assert time.process_time() - started < 20
    finally:
        tracemalloc.stop()
    return str(caught.value)


def nifti(path: Path, array: np.ndarray | None = None, affine: np.ndarray = AFFINE, **header: object) -> Path:
    volume = np.arange(60, dtype=np.int16).reshape(5, 4, 3) if array is None else array
    image = nib.Nifti1Image(volume, affine)
    nib.save(image, path)
    if header:
        content = bytearray(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
        for name, value in header.items():
            kind, at = image.header.template_dtype.fields[name]
            content[at : at + kind.itemsize] = np.asarray(value, kind.base).tobytes()
        path.write_bytes(gzip.compress(bytes(content)) if path.suffix == ".gz" else bytes(content))
    return path


def read_case(path: Path) -> np.ndarray:
    return CaseReader(["Bladder"]).get_data(path)[0]


@pytest.mark.parametrize("how", ["flipped", "cut", "followed", "checksum"])
def test_nifti_is_read_to_its_checksum(tmp_path, how):
    # nibabel stops where the volume ends, before zlib has seen the checksum.
    file = nifti(tmp_path / "a.nii.gz")
    content = bytearray(file.read_bytes())
    if how == "flipped":
        # A stored block, so that the bit reaches a voxel and nothing else notices.
        content = bytearray(gzip.compress(gzip.decompress(bytes(content)), 0, mtime=0))
        content[400] ^= 1
    elif how == "cut":
        del content[-4:]
    elif how == "followed":
        content += b"junk"
    else:
        content[-8] ^= 1
    file.write_bytes(bytes(content))
    assert str(file) in refused(read_case, file)


def test_nifti_compressed_and_not_are_the_same(tmp_path):
    one, two = (CaseReader().get_data(nifti(tmp_path / name)) for name in ("a.nii", "a.nii.gz"))
    np.testing.assert_array_equal(one[0], two[0])
    assert one[1].keys() == two[1].keys() and one[0].dtype == two[0].dtype


@pytest.mark.parametrize(
    "header",
    [
        {"dim": [3, 0, 4, 3, 1, 1, 1, 1]},
        {"dim": [3, -5, 4, 3, 1, 1, 1, 1]},
        {"dim": [3, 30000, 30000, 30000, 1, 1, 1, 1]},
        {"dim": [3, 900, 900, 900, 1, 1, 1, 1]},
        {"datatype": 128, "bitpix": 24},
        {"datatype": 32, "bitpix": 64},
        {"srow_x": [np.nan, 0, 0, 0]},
        {"srow_x": [0, 0, 0, 0]},
        {"srow_x": [1e9, 0, 0, 0]},
        {"srow_x": [0, 1, 0, 0]},
        {"vox_offset": 1e9},
    ],
)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_nifti_header(tmp_path, name, header):
    assert str(tmp_path) in refused(read_case, nifti(tmp_path / name, **header))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nifti_values_that_are_not_finite(tmp_path, value):
    array = np.zeros((5, 4, 3), np.float32)
    array[2, 1, 1] = value
    assert "1 of 60" in refused(read_case, nifti(tmp_path / "a.nii", array))


def test_nifti_patient_with_a_mask_that_is_there_and_is_none(tmp_path):
    nifti(tmp_path / "ct.nii.gz")
    mask = tmp_path / "Bladder.nii.gz"
    mask.symlink_to(tmp_path / "nowhere")
    assert str(mask) in refused(read_case, tmp_path)
    mask.unlink()
    mask.mkdir()
    assert str(mask) in refused(read_case, tmp_path)


def test_large_volumes_pass_and_the_limit_can_be_raised(tmp_path, monkeypatch):
    # 512 x 512 x 2000, as a header; the file is too short for it, and that is what is said.
    assert "cut short" in refused(read_case, nifti(tmp_path / "a.nii", dim=[3, 512, 512, 2000, 1, 1, 1, 1]))
    huge = nifti(tmp_path / "b.nii", dim=[3, 2048, 2048, 1024, 1, 1, 1, 1])
    assert "CTAN_MAX_VOXELS" in refused(read_case, huge)
    monkeypatch.setenv("CTAN_MAX_VOXELS", str(2**33))
    assert "cut short" in refused(read_case, huge)


def test_openkbp_numbers_that_only_python_takes(tmp_path):
    for text in (
        "5,1_0\n",
        '"5",1\n',
        "5,1\n5,2\n",
        "4294967301,1\n",
        "9223372036854775808,1\n",
        "5,1e400\n",
    ):
        (tmp_path / "dose.csv").write_text(",data\n" + text)
        assert "dose.csv, line " in refused(read_sparse_csv, tmp_path / "dose.csv", True)


def test_openkbp_numbers_too_large_for_float32(tmp_path):
    (tmp_path / "dose.csv").write_text(",data\n5,1e100\n")
    assert "dose.csv" in refused(OpenKBPReader().get_data, tmp_path / "dose.csv")


def test_openkbp_large_files(tmp_path):
    file = tmp_path / "ct.csv"
    file.write_bytes(b",data\n" + b"7,1\n" * 10_000_000)
    assert "second time" in refused(read_sparse_csv, file, True)
    with file.open("r+b") as handle:
        handle.truncate(10**12)
    assert "bytes, where such a file has at most" in refused(read_sparse_csv, file, True)
    with file.open("r+b") as handle:
        handle.truncate(10**8)
    refused(read_voxel_dimensions, file)


@pytest.mark.parametrize("size", ["1e30\n1\n1\n", "1e-9\n1\n1\n", "nan\n1\n1\n", "0\n1\n1\n"])
def test_openkbp_voxels_of_absurd_size(tmp_path, size):
    (tmp_path / "voxel_dimensions.csv").write_text(size)
    assert str(tmp_path) in refused(read_voxel_dimensions, tmp_path / "voxel_dimensions.csv")


def test_openkbp_what_is_there_and_is_no_file(tmp_path):
    patient = tmp_path / "provided-data" / "train-pats" / "pt_1"
    write_openkbp(patient, 0)
    reader = OpenKBPReader(STRUCTURES)
    (patient / "empty.csv").mkdir()
    assert "empty.csv" in refused(reader.get_data, patient / "empty.csv")
    (patient / "PTV70.csv").unlink()
    (patient / "PTV70.csv").symlink_to("nowhere")
    assert "PTV70.csv" in refused(reader.get_data, patient)
    (patient / "dose.csv").unlink()
    os.mkfifo(patient / "dose.csv")
    (item,) = openkbp_list(tmp_path, "train", structures=STRUCTURES)
    assert "a pipe" in refused(reader.get_data, Path(item["dose"]))


@pytest.fixture
def patient(tmp_path) -> Path:
    write_patient(tmp_path / "in" / "P1")
    return tmp_path / "in" / "P1"


def edit(file: Path, keyword: str, value: bytes | None, *path: str) -> None:
    data = pydicom.dcmread(file)
    place = data
    for step in path:
        place = place[step].value[0]
    put(place, keyword, value)
    save(data, file)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PixelSpacing", b"1e30\\1 "),
        ("PixelSpacing", b"0\\0 "),
        ("PixelSpacing", b"-1\\-1 "),
        ("PixelSpacing", b"2 "),
        ("ImageOrientationPatient", b"nan\\0\\0\\0\\1\\0"),
        ("ImageOrientationPatient", b"2\\0\\0\\0\\2\\0"),
        ("ImagePositionPatient", b"nan\\0\\0"),
        ("ImagePositionPatient", b"0\\0 "),
        ("RescaleSlope", b"nan "),
        ("RescaleSlope", b"0 "),
        ("RescaleIntercept", b"1e300 "),
        ("NumberOfFrames", b"2147483647"),
        ("SamplesPerPixel", struct.pack("<H", 3)),
        ("Rows", struct.pack("<H", 65535)),
        ("PixelData", b"\0\0"),
    ],
)
def test_ct_header(patient, keyword, value):
    for file in patient.glob("CT*"):
        edit(file, keyword, value)
    assert str(patient) in refused(read_case, patient)


def test_ct_compressed_frames_that_are_not_there(patient):
    files = sorted(patient.glob("CT*"))
    for file in files:
        data = pydicom.dcmread(file)
        data.compress(RLELossless, generate_instance_uid=False)
        put(data, "NumberOfFrames", b"2147483647")
        save(data, file)
    assert str(files[0]) in refused(read_case, patient)


def test_ct_picture_larger_than_its_header(patient):
    """A JPEG 2000 that asks its decoder for 3.6 billion pixels, in a slice of 12 x 14."""
    stream = (
        b"\xff\x4f\xff\x51\x00\x29\x00\x00" + struct.pack(">8I", 60000, 60000, 0, 0, 60000, 60000, 0, 0) + b"\0\1\7\1\1"
    )
    item = (
        b"\xfe\xff\x00\xe0" + struct.pack("<I", 0) + b"\xfe\xff\x00\xe0" + struct.pack("<I", len(stream) + 1) + stream
    )
    for file in patient.glob("CT*"):
        data = pydicom.dcmread(file)
        data.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
        data.PixelData = item + b"\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
        data["PixelData"].VR = "OB"
        data["PixelData"].is_undefined_length = True
        data.save_as(file)
    assert "60000 x 60000" in refused(read_case, patient)


def test_ct_deflate_bomb_and_nested_sequences(patient):
    for how in ("deflate bomb", "nested"):
        file = patient / "CT_0002.dcm"
        kept = file.read_bytes()
        store_slice(file, pydicom.dcmread(file), how)
        assert "CT_0002.dcm" in refused(read_case, patient)
        file.write_bytes(kept)


def test_dicom_folder_with_pipes_and_links_to_nothing(patient, tmp_path):
    os.mkfifo(patient / "pipe")
    assert read_case(patient).shape == (14, 12, 6)
    (item,) = dicom_rt_list(patient.parent, tmp_path / "out", {"PTV": ["ptv"]})
    assert "unusable" not in item and len(prescribed_list(patient.parent)) == 1
    (patient / "CT_0002.dcm").unlink()
    (patient / "CT_0002.dcm").symlink_to("nowhere")
    assert "CT_0002.dcm" in refused(read_case, patient)
    (item,) = dicom_rt_list(patient.parent, tmp_path / "out", {"PTV": ["ptv"]})
    assert "CT_0002.dcm" in item["unusable"]


def test_folder_that_cannot_be_listed(tmp_path, monkeypatch):
    def forbid(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", forbid)
    monkeypatch.setattr(os, "scandir", forbid)
    for call in (visible, inference_list, CaseReader().get_data):
        assert str(tmp_path) in refused(call, tmp_path, match="Permission denied")


@pytest.mark.parametrize(
    ("name", "path", "keyword", "value"),
    [
        ("RS", ("ROIContourSequence",), "ReferencedROINumber", b""),
        ("RS", ("ROIContourSequence",), "ReferencedROINumber", b"abc "),
        ("RS", ("ROIContourSequence", "ContourSequence"), "ContourData", b"a\\b\\c "),
        ("RS", ("ROIContourSequence", "ContourSequence"), "ContourData", b"1e30\\0\\36\\0\\1\\36\\1\\0\\36"),
        ("RS", ("StructureSetROISequence",), "ROINumber", b"2 "),
        ("RS", (), "ROIContourSequence", b"x "),
        ("RS", (), "ReferencedFrameOfReferenceSequence", b"x "),
        ("RD", (), "ImagePositionPatient", b"nan\\0\\0 "),
        ("RD", (), "ImagePositionPatient", b"0\\0 "),
        ("RD", (), "PixelSpacing", b"1 "),
        ("RD", (), "ImageOrientationPatient", b"0\\0\\0\\0\\0\\0 "),
        ("RD", (), "DoseGridScaling", b"nan "),
        ("RD", (), "DoseGridScaling", b"-1"),
        ("RD", (), "DoseGridScaling", b"1e300 "),
        ("RD", (), "GridFrameOffsetVector", b"0\\3\\6\\nan\\12\\15"),
        ("RD", (), "GridFrameOffsetVector", b"a\\b "),
        ("RP", ("DoseReferenceSequence",), "TargetPrescriptionDose", b"-1"),
        ("RP", ("DoseReferenceSequence",), "TargetPrescriptionDose", b"abc "),
        ("RP", ("DoseReferenceSequence",), "TargetPrescriptionDose", b"nan "),
    ],
)
def test_dicom_rt_elements(patient, tmp_path, name, path, keyword, value):
    edit(patient / f"{name}.dcm", keyword, value, *path)
    (item,) = dicom_rt_list(patient.parent, tmp_path / "out", {"PTV": ["ptv"], "Bladder": ["bladder"]})
    assert f"{name}.dcm" in item["unusable"]


def test_plan_without_its_uid_is_no_traceback(patient, tmp_path):
    edit(patient / "RP.dcm", "SOPInstanceUID", None)
    (item,) = dicom_rt_list(patient.parent, tmp_path / "out", {"PTV": ["ptv"]})
    assert "unusable" in item


@pytest.mark.parametrize("how", ["empty", "cr", "crlf", "cut in the header"])
@pytest.mark.parametrize("name", ["RS.dcm", "RD.dcm"])
def test_structures_and_dose_of_broken_files(patient, name, how):
    file = patient / name
    file.write_bytes(BYTES[how](file.read_bytes(), random.Random(0)))
    call = read_structures if name == "RS.dcm" else read_dose
    assert str(file) in refused(call, file)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("DVHData", None), ("DVHData", b"nan\\1 "), ("DVHData", b"-1\\5"), ("DVHDoseScaling", b"nan "), ("DVHType", None),
     ("DVHMaximumDose", b"1\\2 ")],
)  # fmt: skip
def test_stored_dvh(patient, keyword, value):
    edit(patient / "RD.dcm", keyword, value, "DVHSequence")
    if keyword == "DVHType":
        assert read_stored_dvhs(patient / "RD.dcm") == []
    else:
        assert "RD.dcm" in refused(read_stored_dvhs, patient / "RD.dcm")


def test_a_stored_dvh_with_negative_rounding_is_read(patient):
    """As Eclipse writes it; a volume that is really negative is damage."""
    edit(patient / "RD.dcm", "DVHData", b"1\\10\\1\\5\\1\\-2.8e-13", "DVHSequence")
    (dvh,) = read_stored_dvhs(patient / "RD.dcm")
    np.testing.assert_array_equal(dvh.volume, [10, 5, 0])
    edit(patient / "RD.dcm", "DVHData", b"1\\10\\1\\5\\1\\-1e-3 ", "DVHSequence")
    refused(read_stored_dvhs, patient / "RD.dcm", match="negative")


def test_contours_that_go_up_and_down_a_thousand_times(monkeypatch):
    """20,000 points that each cross 512 lines: ten million crossings, looked at in parts."""
    zigzag = np.stack([np.arange(20_000) % 500 + 0.25, np.where(np.arange(20_000) % 2, -5.0, 600.0)], axis=1)
    lines = np.arange(512.0)
    tracemalloc.start()
    inside = fill_contours([zigzag], lines, lines)
    assert tracemalloc.get_traced_memory()[1] < 2**28
    tracemalloc.stop()
    np.testing.assert_array_equal(inside, _by_line(zigzag, lines))
    monkeypatch.setattr(rasterising, "CROSSINGS", 7)
    np.testing.assert_array_equal(fill_contours([zigzag[:99]], lines, lines), _by_line(zigzag[:99], lines))


def _by_line(contour: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Even-odd filling a line at a time, from the crossings of each edge with the line by plain arithmetic."""
    out = np.zeros((len(lines), len(lines)), bool)
    x, y = contour.T
    x2, y2 = np.roll(x, -1), np.roll(y, -1)
    for j, line in enumerate(lines):
        hit = (np.minimum(y, y2) <= line) & (line < np.maximum(y, y2))
        at = np.sort(x[hit] + (line - y[hit]) / (y2[hit] - y[hit]) * (x2[hit] - x[hit]))
        out[:, j] = np.searchsorted(at, lines, side="right") % 2 == 1
    return out


def test_a_hundred_thousand_contours(tmp_path):
    square = np.array([[2.0, 2, 0], [8, 2, 0], [8, 8, 0], [2, 8, 0]])
    many = [square + np.array([0, 0, k % 200]) for k in range(100_001)]
    started = time.process_time()
    mask = rasterise(many, np.eye(4), (12, 12, 200))
    assert time.process_time() - started < 20
    # The squares of a plane are all the same, and count once.
    assert mask[2:8, 2:8].all() and mask.sum() == 36 * 200


@pytest.mark.parametrize("name", ["RD.dcm", "CT_0003.dcm"])
def test_a_dicom_file_without_transfer_syntax(patient, name):
    file = patient / name
    file.write_bytes(file.read_bytes().replace(b"\x02\x00\x10\x00UI", b"\x02\x00\x12\x01UI", 1))
    refused(read_dose if name == "RD.dcm" else read_case, file if name == "RD.dcm" else patient, match=name)


def test_dvh_of_contours_far_apart(patient):
    grid = read_dose(patient / "RD.dcm")
    far = np.array([[-9e4, -9e4, 0], [9e4, -9e4, 0], [9e4, 9e4, 0]])
    assert "'PTV'" in refused(contour_dvh, Structure(1, "PTV", "", (far,), ""), grid)
    flat = np.array([[5.0, 5, 0], [5, 5, 0], [5, 5, 0]])
    assert "'PTV'" in refused(contour_dvh, Structure(1, "PTV", "", (flat,), ""), grid)


def test_names_that_are_no_utf8(patient, tmp_path):
    strange = Path(os.fsdecode(os.fsencode(patient.parent) + b"/\xff\xfe"))
    patient.rename(strange)
    (strange / "RD.dcm").rename(os.fsdecode(os.fsencode(strange) + b"/\xffRD"))
    items = dicom_rt_list(strange.parent, tmp_path / "out", {"PTV": ["ptv"]})
    assert "unusable" not in items[0] and items[0]["case"] == strange.name
    cases = [items[0] | {"case": f"{strange.name}{k}"} for k in range(5)]
    parts = split_cases(cases, tmp_path / "split.csv", FRACTIONS, [])
    again = split_cases(cases, tmp_path / "split.csv", FRACTIONS, [])
    assert {p: [i["case"] for i in m] for p, m in parts.items()} == {
        p: [i["case"] for i in m] for p, m in again.items()
    }


@pytest.mark.parametrize(
    ("header", "match"),
    [
        ({"DimSize": "60000 60000 60000"}, "CTAN_MAX_VOXELS"),
        ({"DimSize": "9999 9999 9"}, "cut short"),
        ({"ElementSpacing": "0 1 1"}, "a.mha"),
        ({"ElementSpacing": "1e30 1 1"}, "no scanner"),
        ({"BinaryData": "False"}, "as text"),
        ({"ElementType": "MET_FLOAT", "DimSize": "7 6 2"}, "NaN or infinite"),
    ],
)
def test_metaimage_header(tmp_path, header, match):
    pytest.importorskip("itk")
    (tmp_path / "a.mha").write_bytes(mha("LOCAL", **header) + b"\xff" * 420)
    assert "a.mha" in refused(read_case, tmp_path / "a.mha", match=match)


@pytest.mark.parametrize("name", ["/etc/hostname", "../a.raw", "%s%n.raw 1 5 1", "LIST", "LIST 2", "/dev/zero", "b"])
def test_data_outside_of_the_folder_of_its_header(tmp_path, name):
    pytest.importorskip("itk")
    (tmp_path / "in" / "b").mkdir(parents=True)
    (tmp_path / "a.raw").write_bytes(bytes(420))
    (tmp_path / "in" / "a.mhd").write_bytes(mha(name))
    refused(read_case, tmp_path / "in" / "a.mhd", match="in/")
    if name != "b":
        text = nrrd("raw").replace(b"\n\n", f"\ndata file: {name}\n\n".encode())
        (tmp_path / "in" / "a.nrrd").write_bytes(text)
        refused(read_case, tmp_path / "in" / "a.nrrd", match="a.nrrd")


def test_nrrd_of_many_voxels(tmp_path):
    pytest.importorskip("itk")
    for sizes, match in (("30000 30000 9", "CTAN_MAX_VOXELS"), ("900 900 900", "cut short")):
        (tmp_path / "a.nrrd").write_bytes(nrrd("raw").replace(b"7 6 5", sizes.encode()) + bytes(420))
        refused(read_case, tmp_path / "a.nrrd", match=match)


def test_png_is_read_to_its_checksum(tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (20, 20)).astype(np.uint8)
    lines = b"".join(b"\0" + line.tobytes() for line in picture)
    content = bytearray(png(picture, zlib.compress(lines, 0)))
    (tmp_path / "a.png").write_bytes(content)
    assert np.array_equal(MaskReader().get_data(tmp_path / "a.png")[0].T, picture)
    content[100] ^= 1
    (tmp_path / "a.png").write_bytes(content)
    assert "a.png" in refused(MaskReader().get_data, tmp_path / "a.png")


def test_photos_that_are_large_or_programs(tmp_path):
    (tmp_path / "a.png").write_bytes(png(np.zeros((20, 20), np.uint8), width=60000, height=60000))
    assert "a.png" in refused(PhotoReader().get_data, tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(png(np.zeros((20, 20), np.uint8), width=13000, height=13000))
    assert "150000000" in refused(PhotoReader().get_data, tmp_path / "b.png")
    # Pillow would hand it to Ghostscript.
    Image.new("RGB", (20, 20)).save(tmp_path / "c.jpg", "EPS")
    assert "c.jpg" in refused(PhotoReader().get_data, tmp_path / "c.jpg")
    Image.new("1", (10_000, 10_000)).save(tmp_path / "d.png")
    assert MaskReader().get_data(tmp_path / "d.png")[0].shape == (10_000, 10_000)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (b"image_id,dx\na,mel,nv\n", "line 2 has 3 fields"),
        (b"image_id,dx\na,mel,\nb,nv,\n", "line 2 has 3 fields"),
        (b"image_id,image_id\na,b\n", "image_id"),
        (b'image_id,dx\n"a,mel\n', "unexpected end"),
        (b"image_id,dx\na,m\xe9l\n", "utf-8"),
        (b"image_id,dx\na,m\0l\n", "zero bytes"),
        (b"", "empty"),
        (b"\n\n", "empty"),
    ],
)
def test_tables(tmp_path, text, match):
    # pandas makes an index of the first column in the first two, and image_id.1 of the third.
    (tmp_path / "t.csv").write_bytes(text)
    assert "t.csv" in refused(read_labels, [tmp_path / "t.csv"], match=match)


def test_tables_in_the_forms_that_spreadsheets_write(tmp_path):
    for text in (
        b"\xef\xbb\xbfa,b\r\n1,2\r\n",
        b"a,b\n1,2",
        b"a, b\n\n1, 2\n\n",
        b'"a","b"\n"1","2"\n',
        b"a,b,c\n1,2\n",
    ):
        (tmp_path / "t.csv").write_bytes(text)
        row = read_table(tmp_path / "t.csv", "").to_dict("records")
        assert [{k: v for k, v in r.items() if k != "c"} for r in row] == [{"a": "1", "b": "2"}]


@pytest.fixture
def stoic(tmp_path) -> Path:
    (tmp_path / "data" / "mha").mkdir(parents=True)
    (tmp_path / "metadata").mkdir()
    write_mha(tmp_path / "data" / "mha" / "1.mha", np.zeros((5, 4, 3), np.int16), (1.0, 1.0, 2.0))
    return tmp_path


def test_stoic_rows(stoic):
    reference = stoic / "metadata" / "reference.csv"
    reference.write_text("PatientID,probCOVID,probSevere\n1,1,0\n" + "9" * 5000 + ",1,0\n2\n")
    items = stoic_list(stoic)
    assert [len(item["case"]) for item in items] == [1, 1, 5000] and "unusable" not in items[0]
    # One field more in each row: pandas takes the patient for the name of the row, and a label for the patient.
    reference.write_text("PatientID,probCOVID,probSevere\n1,1,0,\n2,0,0,\n")
    assert "reference.csv" in refused(stoic_list, stoic)


def test_natural_order_of_long_numbers():
    names = ["pt_10", "pt_2", "pt_02", "pt_" + "1" * 6000, "pt_0", "a", "pt_2b"]
    expected = sorted(
        (n for n in names if len(n) < 99), key=lambda n: [int(t) if t.isdigit() else t for t in _parts(n)]
    )
    assert sorted(names, key=natural_key) == [*expected, "pt_" + "1" * 6000]


def _parts(name: str) -> list[str]:
    return re.split(r"([0-9]+)", name)


def test_photo_folder_with_a_pipe(tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "a.jpg")
    (tmp_path / "t.csv").write_text("image_id,dx\na,mel\n")
    for name in ("b.jpg", "a_segmentation.png", "u.csv"):
        os.mkfifo(tmp_path / name)
    (item,) = ham10000_list(tmp_path)
    assert item["case"] == "a" and item["diagnosis"] == 0


def test_parts(tmp_path):
    cases = [{"case": f"c{k}", "group": f"g{k}"} for k in range(5)]
    head, file = "case,group,stratum,part,reason\n", tmp_path / "split.csv"
    rows = [f"c{k},g{k},a,train,\n" for k in range(5)]
    for text in (
        head + "".join(rows) + rows[0],
        head + "".join(rows[1:]) + "c0,,a,train,\n",
        head + "".join(rows[1:]) + "c0,g0,a,,\n",
        head + "".join(rows[1:]) + "c0,g0,a, ,\n",
        head + "".join(row.replace("\n", ",x\n") for row in rows),
        head.replace("stratum", "part") + "".join(rows),
    ):
        file.write_text(text)
        assert "split.csv" in refused(split_cases, cases, file, FRACTIONS, [])
    file.unlink()
    file.mkdir()
    assert "split.csv" in refused(split_cases, cases, file, FRACTIONS, [])


def test_archives(tmp_path):
    file = tmp_path / "b.zip"
    made = entries()
    write_zip(file, [*made[:-1], (made[-1][0], b"\x91" * 99)])
    assert "SHA256SUMS" in refused(unpack_bundle, file, tmp_path / "out")
    write_zip(file, entries())
    content = bytearray(file.read_bytes())
    at = content.index(b"b/configs/train.json") + len("b/configs/train.json")
    content[at : at + 8] = b"\xff" * 8
    file.write_bytes(bytes(content))
    assert "b.zip" in refused(unpack_bundle, file, tmp_path / "out")
    with zipfile.ZipFile(file, "w") as archive:
        for k in range(60_000):
            archive.writestr(f"b/{'n' * 60}{k}", b"")
    assert "more files" in refused(unpack_bundle, file, tmp_path / "out")
    file.unlink()
    os.mkfifo(file)
    assert "a pipe" in refused(unpack_bundle, file, tmp_path / "out")
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_a_folder_that_holds_itself(tmp_path):
    write_patient(tmp_path / "P1")
    shutil.copy(tmp_path / "P1" / "CT_0001.dcm", tmp_path / "spare")
    TREES["a folder that holds itself"](tmp_path / "P1", random.Random(0))
    assert len(prescribed_list(tmp_path)) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cases.csv", "case,image,grade\na,{image},inf\n"),
        ("cases.csv", "case,image,grade\na,{image},1e999\n"),
        ("cases.csv", "case,image,grade\na," + "9" * 200_000 + ",1\n"),
        ("cases.csv", "case,image,grade\na," + "n" * 5000 + ",1\n"),
        ("dataset.json", '{{"training": [{{"image": "{image}", "grade": Infinity}}]}}'),
        ("dataset.json", '{{"training": ' + "[" * 100_000 + "]" * 100_000 + "}}"),
    ],
)
def test_lists_of_ones_own_cases(tmp_path, name, text):
    image = nifti(tmp_path / "a.nii")
    (tmp_path / name).write_text(text.format(image=image.name))
    tasks = {"grade": {"kind": "classification", "out_channels": 2}}
    assert name in refused(case_table, tmp_path / name, tasks)
