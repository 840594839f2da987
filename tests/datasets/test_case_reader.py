# SPDX-License-Identifier: Apache-2.0
import re

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from monai.data import NibabelReader
from monai.transforms import LoadImage, Orientation
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder, get_encoder
from pydicom.uid import (
    MPEG2MPML,
    CTImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    MediaStorageDirectoryStorage,
    RLELossless,
    generate_uid,
)

from ctan_networks.datasets import case_reader as module
from ctan_networks.datasets.case_reader import CaseReader
from ctan_networks.datasets.openkbp.files import GRID, write_sparse_csv, write_voxel_dimensions
from ctan_networks.datasets.openkbp.reader import OpenKBPReader
from ctan_networks.errors import DataError

SPACING = (1.5, 2.0, 3.0)  # mm: rows, columns, slices
ORIGIN = np.array([-10.0, -20.0, 30.0])  # mm, LPS


def write_slice(file, array, position, number=1, series="1.2.3", modality="CT"):
    data = pydicom.Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.Modality, data.SeriesInstanceUID, data.InstanceNumber = modality, series, number
    data.Rows, data.Columns = array.shape
    data.PixelSpacing = list(SPACING[:2])
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.ImagePositionPatient = [float(p) for p in position]
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    data.PixelData = (array + 1024).astype(np.uint16).tobytes()
    data.save_as(file, enforce_file_format=True)


@pytest.fixture
def hu():
    return np.random.default_rng(0).integers(-1000, 2000, size=(6, 5, 4))  # rows, columns, slices


@pytest.fixture
def series(tmp_path, hu):
    """Slices whose names, numbers and positions are in different orders, beside a plan and a text file."""
    folder = tmp_path / "anna [1]"
    folder.mkdir()
    for k, (name, number) in enumerate([("b", 7), ("a", 9), ("d", 8), ("c", 3)]):
        write_slice(folder / name, hu[:, :, k], ORIGIN + np.array([0, 0, k * SPACING[2]]), number)
    write_slice(folder / "plan.dcm", hu[:, :, 0], ORIGIN, series="1.2.4", modality="RTPLAN")
    (folder / "notes.txt").write_text("not DICOM")
    return folder


def test_dicom_series_by_position(series, hu):
    image = LoadImage(reader=CaseReader())(series)
    assert image.shape == (5, 6, 4) and image.meta["filename_or_obj"] == str(series)
    for row, column, k in ((0, 0, 0), (5, 4, 3), (2, 1, 2)):
        x, y, z = ORIGIN + np.array([column * SPACING[1], row * SPACING[0], k * SPACING[2]])
        voxel = torch.linalg.solve(image.affine, torch.tensor([-x, -y, z, 1.0], dtype=torch.float64)).round().int()
        assert image[tuple(voxel[:3].tolist())] == hu[row, column, k]


def test_same_volume_as_dicom_and_nifti(series, tmp_path):
    image = LoadImage(reader=CaseReader())(series)
    file = tmp_path / "anna.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(image, dtype=np.float32), np.asarray(image.affine)), file)
    again = LoadImage(reader=CaseReader())(file)
    expected = LoadImage(reader=NibabelReader())(file)
    torch.testing.assert_close(again.as_tensor(), expected.as_tensor())
    one, two = (Orientation(axcodes="PLI", labels=None)(v[None]) for v in (image, again))
    torch.testing.assert_close(one.as_tensor(), two.as_tensor())
    np.testing.assert_allclose(one.affine, two.affine, atol=1e-5)


def test_openkbp(tmp_path):
    volume = np.zeros(GRID)
    volume[60, 61, 62] = 1100
    write_sparse_csv(tmp_path / "pt_1" / "ct.csv", volume)
    write_sparse_csv(tmp_path / "pt_1" / "PTV70.csv", volume > 0, mask=True)
    write_voxel_dimensions(tmp_path / "pt_1" / "voxel_dimensions.csv", (4.0, 4.0, 3.0))
    for path in (tmp_path / "pt_1" / "ct.csv", tmp_path / "pt_1"):
        one, two = CaseReader(), OpenKBPReader()
        array, meta = one.get_data(one.read((str(path),)))
        expected, expected_meta = two.get_data(two.read(path))
        np.testing.assert_array_equal(array, expected)
        assert meta.keys() == expected_meta.keys()
    assert CaseReader(["PTV70"]).get_data(tmp_path / "pt_1")[0].max() == 1


def test_itk_formats(tmp_path, hu):
    itk = pytest.importorskip("itk")
    file = tmp_path / "a.mha"
    itk.imwrite(itk.image_from_array(hu.astype(np.int16)), str(file))
    assert LoadImage(reader=CaseReader())(file).shape == hu.shape[::-1]


def compress(file, syntax):
    """Compress a slice with pydicom, or where it cannot with GDCM."""
    if syntax in (RLELossless, JPEG2000Lossless):
        data = pydicom.dcmread(file)
        data.compress(syntax)
        data.save_as(file)
        return
    gdcm = pytest.importorskip("gdcm")
    names = {JPEGLosslessSV1: "JPEGLosslessProcess14_1", JPEGLSLossless: "JPEGLSLossless"}
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(file))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, names[syntax])))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(file))
    assert writer.Write()


@pytest.fixture
def large(tmp_path):
    """Three slices with structure, so that compressed data is longer than its headers."""
    rows, columns, k = np.mgrid[:64, :48, :3]
    hu = (rows * 7 + columns * 11 + k * 50) % 1500 - 1000
    folder = tmp_path / "large"
    folder.mkdir()
    for i in range(3):
        write_slice(folder / f"{i}.dcm", hu[:, :, i], ORIGIN + np.array([0, 0, i * SPACING[2]]), i + 1)
    return folder


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("syntax", [RLELossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless])
def test_compressed_series(large, syntax, signed):
    if not get_decoder(syntax).is_available or (syntax == JPEG2000Lossless and not get_encoder(syntax).is_available):
        pytest.skip("no decoder (pip install ctan-networks[dicom])")
    if signed:
        for file in large.iterdir():
            data = pydicom.dcmread(file)
            data.PixelData = (data.pixel_array.astype(np.int16) - 1024).tobytes()
            data.PixelRepresentation, data.RescaleIntercept = 1, 0
            data.save_as(file)
    expected = LoadImage(reader=CaseReader())(large)
    for file in large.iterdir():
        compress(file, syntax)
        assert pydicom.dcmread(file).file_meta.TransferSyntaxUID == syntax
    image = LoadImage(reader=CaseReader())(large)
    assert expected.min() == -1000 and expected.max() == 58
    torch.testing.assert_close(image.as_tensor(), expected.as_tensor())
    torch.testing.assert_close(image.affine, expected.affine)


def test_a_missing_decoder_says_what_to_install(large, monkeypatch):
    compress(large / "1.dcm", RLELossless)
    decoder = get_decoder(RLELossless)
    monkeypatch.setattr(decoder, "_available", {})
    message = load_error(large)
    assert "RLE Lossless" in message and 'pip install "ctan-networks[dicom]"' in message


def test_a_compression_that_nothing_reads(large):
    data = pydicom.dcmread(large / "1.dcm")
    data.file_meta.TransferSyntaxUID = MPEG2MPML
    data.PixelData = encapsulate([data.PixelData])
    data.save_as(large / "1.dcm")
    assert "Export the series uncompressed" in load_error(large)


@pytest.mark.parametrize("syntax", [None, RLELossless])
def test_a_slice_cut_short_is_never_left_out(large, syntax):
    file = large / "2.dcm"  # at the end, where its absence leaves no gap
    if syntax:
        compress(file, syntax)
    whole = file.read_bytes()
    for size in (0, 132, 141, 152, 300, 400, 470, 600, len(whole) // 2, len(whole) - 20):
        file.write_bytes(whole[:size])
        message = load_error(large)
        assert "2.dcm" in message or "pixel data is less than expected" in message
    file.unlink()
    assert LoadImage(reader=CaseReader())(large).shape == (48, 64, 2)


def test_other_dicom_files_do_not_count_as_damaged(large):
    data = pydicom.dcmread(large / "0.dcm")
    directory = pydicom.Dataset()
    directory.file_meta = data.file_meta
    directory.file_meta.MediaStorageSOPClassUID = directory.SOPClassUID = MediaStorageDirectoryStorage
    directory.SOPInstanceUID = data.SOPInstanceUID
    directory.save_as(large / "DICOMDIR", enforce_file_format=True)
    (large / "empty_marker").write_bytes(b"")
    assert LoadImage(reader=CaseReader())(large).shape == (48, 64, 3)


@pytest.fixture(params=["raw", "compressed"])
def volume(tmp_path, request):
    """An .mha, its array and where its data begins."""
    itk = pytest.importorskip("itk")
    array = np.random.default_rng(0).integers(-1000, 400, size=(20, 32, 32)).astype(np.int16)
    file = tmp_path / "7.mha"
    itk.imwrite(itk.image_from_array(array), str(file), compression=request.param != "raw")
    return file, array.T, file.read_bytes().index(b"LOCAL\n") + 6


def test_mha_cut_short_is_never_filled(volume):
    file, array, start = volume
    whole = file.read_bytes()
    image = LoadImage(reader=CaseReader())(file)
    np.testing.assert_array_equal(image.numpy(), array)
    # Trailing bytes do no harm.
    file.write_bytes(whole + b"more")
    np.testing.assert_array_equal(LoadImage(reader=CaseReader())(file).numpy(), array)
    for size in (0, 5, 100, start - 8, start - 1, start, start + 1, len(whole) // 2, len(whole) - 100, len(whole) - 1):
        file.write_bytes(whole[:size])
        load_error(file)


@pytest.mark.parametrize("volume", ["compressed"], indirect=True)
def test_mha_whose_compressed_size_is_wrong_or_missing(volume):
    file, array, _ = volume
    whole = file.read_bytes()
    size = re.search(rb"CompressedDataSize = (\d+)\n", whole)
    for wrong in (b"", b"CompressedDataSize = 0\n", b"CompressedDataSize = -5\n", b"CompressedDataSize = x\n"):
        file.write_bytes(whole.replace(size[0], wrong))
        assert "has no CompressedDataSize" in load_error(file)
    file.write_bytes(whole.replace(size[1], b"%d" % (int(size[1]) - 100)))
    assert "cut short or damaged" in load_error(file)
    file.write_bytes(whole.replace(size[1], size[1] + b".0"))
    np.testing.assert_array_equal(LoadImage(reader=CaseReader())(file).numpy(), array)


def test_mha_damaged_inside(volume):
    file, _, start = volume
    whole = file.read_bytes()
    if b"CompressedData = True" in whole:
        damaged = bytearray(whole)
        damaged[(start + len(whole)) // 2] ^= 0xFF
        file.write_bytes(damaged)
        assert "damaged" in load_error(file)
        file.write_bytes(whole.replace(b"DimSize = 32 32 20", b"DimSize = 32 32 19"))
        assert "more than" in load_error(file)
    for wrong in (b"32 32 21", b"99999 99999 99999", b"32 32 -20", b"32 32", b"a b c", b""):
        file.write_bytes(whole.replace(b"DimSize = 32 32 20", b"DimSize = " + wrong))
        load_error(file)


def test_mhd_compressed_needs_no_size(tmp_path):
    itk = pytest.importorskip("itk")
    array = np.random.default_rng(0).integers(-1000, 400, size=(20, 32, 32)).astype(np.int16)
    file = tmp_path / "a.mhd"
    itk.imwrite(itk.image_from_array(array), str(file), compression=True)
    file.write_bytes(re.sub(rb"CompressedDataSize = \d+\n", b"", file.read_bytes()))
    np.testing.assert_array_equal(LoadImage(reader=CaseReader())(file).numpy(), array.T)
    data = tmp_path / "a.zraw"
    data.write_bytes(data.read_bytes()[:-100])
    assert "cut short or damaged" in load_error(file)


def test_mhd_without_its_data(tmp_path):
    itk = pytest.importorskip("itk")
    itk.imwrite(itk.image_from_array(np.zeros((3, 4, 5), np.int16)), str(tmp_path / "a.mhd"))
    assert LoadImage(reader=CaseReader())(tmp_path / "a.mhd").shape == (5, 4, 3)
    (tmp_path / "a.raw").write_bytes(bytes(100))
    assert "100 of 120 bytes" in load_error(tmp_path / "a.mhd")
    (tmp_path / "a.raw").unlink()
    assert "a.raw, is not there" in load_error(tmp_path / "a.mhd")


def test_without_itk(tmp_path, monkeypatch):
    def missing():
        raise module.OptionalImportError("no itk")

    monkeypatch.setattr(module, "ITKReader", missing)
    (tmp_path / "a.nrrd").write_text("NRRD")
    with pytest.raises(DataError, match=r"a\.nrrd: to read \.nrrd, install ITK"):
        CaseReader().get_data(tmp_path / "a.nrrd")


def load_error(path):
    with pytest.raises(DataError) as error:
        LoadImage(reader=CaseReader())(path)
    assert str(path) in str(error.value)
    return str(error.value)


def test_missing_damaged_and_empty(tmp_path):
    assert "is not there" in load_error(tmp_path / "a.nii.gz")
    (tmp_path / "a.nii.gz").write_bytes(b"not NIfTI")
    assert "cannot be read" in load_error(tmp_path / "a.nii.gz")
    (tmp_path / "empty").mkdir()
    assert "neither an OpenKBP patient" in load_error(tmp_path / "empty")
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3, 2), np.float32), np.eye(4)), tmp_path / "four.nii")
    assert "4 dimensions" in load_error(tmp_path / "four.nii")


def test_a_slice_is_missing(series):
    (series / "a").unlink()
    assert "3.00 to 6.00 mm apart" in load_error(series)


def test_a_slice_is_double(series, hu):
    write_slice(series / "z", hu[:, :, 0], ORIGIN)
    assert "missing or double" in load_error(series)


def test_slices_out_of_line(series, hu):
    write_slice(series / "z", hu[:, :, 0], ORIGIN + np.array([5, 0, 4 * SPACING[2]]))
    assert "not parallel and in line" in load_error(series)


def test_two_series(series, hu):
    for k in range(2):
        write_slice(series / f"z{k}", hu[:, :, k], ORIGIN + np.array([0, 0, k * SPACING[2]]), series="1.2.9")
    assert "2 CT series" in load_error(series)


def test_a_slice_of_another_series_at_the_end_is_not_left_out(series, hu):
    write_slice(series / "z", hu[:, :, 0], ORIGIN + np.array([0, 0, 4 * SPACING[2]]), series="1.2.9")
    assert "continues a CT series" in load_error(series)
    write_slice(series / "z", hu[:, :, 0], ORIGIN + np.array([0, 0, SPACING[2]]), series="1.2.9")
    assert LoadImage(reader=CaseReader())(series).shape == (5, 6, 4)


def test_one_slice(tmp_path, hu):
    (tmp_path / "one").mkdir()
    write_slice(tmp_path / "one" / "a", hu[:, :, 0], ORIGIN)
    assert "single CT slice" in load_error(tmp_path / "one")


def test_the_mask_of_where_dose_is_possible_is_read_as_every_mask(tmp_path):
    body = np.zeros((8, 7, 6), bool)
    body[2:6, 2:5, 1:5] = True
    for name, array in (("ct", np.zeros(body.shape, np.int16)), ("possible_dose_mask", body * np.uint8(255))):
        nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / f"{name}.nii.gz")
    file = tmp_path / "possible_dose_mask.nii.gz"
    assert np.array_equal(CaseReader().get_data(file)[0], body)
    nib.save(nib.Nifti1Image((body * np.uint8(255)).view(np.int8), np.eye(4)), file)
    assert np.array_equal(CaseReader().get_data(file)[0], body)
    nib.save(nib.Nifti1Image(body[1:] * np.uint8(1), np.eye(4)), file)
    with pytest.raises(DataError, match="not on the grid"):
        CaseReader().get_data(file)
    nib.save(nib.Nifti1Image(body * np.uint8(0), np.eye(4)), file)
    with pytest.raises(DataError, match=r"possible_dose_mask.nii.gz is empty"):
        CaseReader().get_data(file)
