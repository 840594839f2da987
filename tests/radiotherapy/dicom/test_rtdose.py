# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, RTDoseStorage
from scipy.interpolate import RegularGridInterpolator

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.rtdose import read_dose, resample_dose, sum_doses

FILE = Path("dose.dcm")


def dataset(stored: np.ndarray, offsets: list[float], scaling: float = 0.01, **changes) -> pydicom.Dataset:
    """An RTDOSE as DICOM PS3.3 C.8.8.3 has it; ``stored`` is [frame, row, column]."""
    d = pydicom.Dataset()
    d.file_meta = pydicom.dataset.FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.file_meta.MediaStorageSOPClassUID = RTDoseStorage
    d.Modality, d.DoseUnits, d.DoseType, d.DoseSummationType = "RTDOSE", "GY", "PHYSICAL", "PLAN"
    d.FrameOfReferenceUID = "1.2.3"
    d.NumberOfFrames, d.Rows, d.Columns = stored.shape
    d.BitsAllocated = d.BitsStored = stored.dtype.itemsize * 8
    d.HighBit, d.PixelRepresentation, d.SamplesPerPixel = d.BitsStored - 1, 0, 1
    d.PhotometricInterpretation = "MONOCHROME2"
    d.PixelSpacing = [4, 3]  # between rows, between columns
    d.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    d.ImagePositionPatient = [-30, 10, 50]
    d.GridFrameOffsetVector = offsets
    d.DoseGridScaling = scaling
    d.PixelData = stored.tobytes()
    for name, value in changes.items():
        setattr(d, name, value)
    return d


@pytest.fixture
def stored():
    return np.random.default_rng(0).integers(0, 6000, (5, 6, 7)).astype(np.uint16)


@pytest.mark.parametrize("kind", [np.uint16, np.uint32])
@pytest.mark.parametrize(
    "offsets", [[0, 2.5, 5, 7.5, 10], [50, 52.5, 55, 57.5, 60]], ids=["relative", "absolute z coordinates"]
)
def test_scale_bits_axes_and_both_kinds_of_frame_offsets(stored, kind, offsets):
    grid = read_dose(FILE, dataset(stored.astype(kind), offsets))
    assert grid.dose.shape == (7, 6, 5)
    assert np.allclose(grid.dose[4, 3, 2], stored[2, 3, 4] * 0.01)
    # x grows with columns (3 mm), y with rows (4 mm), z with frames (2.5 mm).
    assert np.allclose(grid.affine @ [4, 3, 2, 1], [-30 + 12, 10 + 12, 50 + 5, 1])


def test_frames_from_head_to_foot_are_turned_round(stored):
    down = read_dose(FILE, dataset(stored, [0, -2.5, -5, -7.5, -10]))
    assert np.allclose(down.affine @ [4, 3, 0, 1], [-18, 22, 40, 1])
    assert np.allclose(down.dose[4, 3, 0], stored[4, 3, 4] * 0.01)
    absolute = read_dose(FILE, dataset(stored, [50, 47.5, 45, 42.5, 40]))
    assert np.array_equal(absolute.dose, down.dose) and np.allclose(absolute.affine, down.affine)


def test_a_turned_patient(stored):
    """Head first, prone: rows and columns run against x and y, the normal still upwards."""
    grid = read_dose(FILE, dataset(stored, [0, 2.5, 5, 7.5, 10], ImageOrientationPatient=[-1, 0, 0, 0, -1, 0]))
    assert np.allclose(grid.affine @ [4, 3, 2, 1], [-30 - 12, 10 - 12, 55, 1])


@pytest.mark.parametrize("uneven", [False, True])
def test_resampling_agrees_with_interpolation_in_patient_coordinates(stored, uneven):
    z = np.array([0, 2.5, 5, 9, 10]) if uneven else np.arange(5) * 2.5
    grid = read_dose(FILE, dataset(stored, list(z)))
    assert grid.is_even is not uneven
    affine = np.diag([1.3, 1.7, 1.1, 1.0])
    affine[:3, 3] = [-32, 8, 49]
    out = resample_dose(grid, affine, (18, 15, 14))
    reference = RegularGridInterpolator(
        (50 + z, 10 + 4.0 * np.arange(6), -30 + 3.0 * np.arange(7)),
        stored * 0.01,
        bounds_error=False,
        fill_value=0,
    )
    i, j, k = np.meshgrid(*(np.arange(n) for n in out.shape), indexing="ij")
    points = np.stack([49 + 1.1 * k, 8 + 1.7 * j, -32 + 1.3 * i], -1)
    assert np.allclose(out, reference(points), atol=1e-3)


def test_resampling_on_the_same_grid_changes_nothing(stored):
    grid = read_dose(FILE, dataset(stored, [0, 2.5, 5, 7.5, 10]))
    assert np.array_equal(resample_dose(grid, grid.affine, grid.dose.shape), grid.dose)


def test_doses_of_beams_are_summed_on_the_first_grid(stored):
    grids = [read_dose(FILE, dataset(stored, [0, 2.5, 5, 7.5, 10])) for _ in range(2)]
    moved = read_dose(FILE, dataset(stored, [0, 2.5, 5, 7.5, 10], ImagePositionPatient=[-27, 10, 50]))
    assert np.allclose(sum_doses(grids).dose, 2 * grids[0].dose)
    total = sum_doses([grids[0], moved]).dose
    assert np.allclose(total[1:], grids[0].dose[1:] + moved.dose[:-1], atol=1e-4)
    with pytest.raises(DataError, match="frames of reference"):
        sum_doses([grids[0], read_dose(FILE, dataset(stored, [0, 2.5, 5, 7.5, 10], FrameOfReferenceUID="9.9"))])


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"DoseUnits": "RELATIVE"}, "RELATIVE.*absolute dose"),
        ({"DoseType": "ERROR"}, "dose errors"),
        ({"DoseGridScaling": None}, "lacks DoseGridScaling"),
        ({"GridFrameOffsetVector": [0, 2.5]}, "5 frames and 2 offsets"),
        ({"GridFrameOffsetVector": [7, 8, 9, 10, 11]}, "begins with 7"),
        ({"GridFrameOffsetVector": [0, 2, 2, 4, 6]}, "same place"),
        ({"PixelData": b"12"}, "cannot be read"),
    ],
)
def test_what_is_no_dose_is_named(stored, changes, words):
    with pytest.raises(DataError, match=f"dose.dcm.*{words}"):
        read_dose(FILE, dataset(stored, [0, 2.5, 5, 7.5, 10], **changes))
