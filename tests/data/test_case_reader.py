# SPDX-License-Identifier: Apache-2.0
import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from monai.data import NibabelReader
from monai.transforms import LoadImage, Orientation
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from ctan_networks.data import CaseReader, OpenKBPReader
from ctan_networks.data import case_reader as module
from ctan_networks.data.openkbp import GRID, write_sparse_csv, write_voxel_dimensions
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
    write_slice(series / "z", hu[:, :, 0], ORIGIN, series="1.2.9")
    assert "2 CT series" in load_error(series)


def test_one_slice(tmp_path, hu):
    (tmp_path / "one").mkdir()
    write_slice(tmp_path / "one" / "a", hu[:, :, 0], ORIGIN)
    assert "single CT slice" in load_error(tmp_path / "one")
