# SPDX-License-Identifier: Apache-2.0
"""Limits of DICOM's encoding that clinical systems enforce, and inputs that come close to them."""

from __future__ import annotations

import copy
import struct

import numpy as np
import pydicom
import pytest
from matplotlib.path import Path as Polygon
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from scipy import ndimage

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.ct_series import CTSeries
from ctan_networks.radiotherapy.dicom.write_ct import write_ct_series
from ctan_networks.radiotherapy.dicom.write_rtdose import write_rtdose
from ctan_networks.radiotherapy.dicom.write_rtplan import write_rtplan
from ctan_networks.radiotherapy.dicom.write_rtstruct import write_rtstruct

SHAPE = (24, 20, 6)


@pytest.fixture(scope="module")
def ct(tmp_path_factory):
    affine = np.diag([1.7, 2.3, 3.0, 1.0])
    affine[:3, 3] = [-51.123456, -203.5, -412.75]
    return write_ct_series(tmp_path_factory.mktemp("ct"), np.zeros(SHAPE), affine, name="A^B", patient_id="1")


def box() -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[5:12, 4:9, 2:4] = True
    return mask


def test_a_contour_of_more_than_64_kb_stays_a_decimal_string(tmp_path):
    """Explicit transfer syntaxes have 16 bits for the length of a DS; pydicom makes it UN, and reads bytes back."""
    affine = np.eye(4)
    affine[:3, 3] = [-512.123, -512.123, -700.5]
    series = write_ct_series(tmp_path / "ct", np.zeros((512, 64, 2)), affine, name="A^B", patient_id="1")
    comb = np.zeros((512, 64, 2), bool)
    comb[2:510, 2:20, 0] = comb[2:510, 40:50, 0] = True
    comb[4:508:2, 20:30, 0] = comb[5:508:2, 30:40, 0] = comb[4:508:2, 50:60, 0] = True
    write_rtstruct(tmp_path / "rs.dcm", {"Comb": comb}, series)
    data = pydicom.dcmread(tmp_path / "rs.dcm")
    contours = data.ROIContourSequence[0].ContourSequence
    values = [np.array(c.ContourData, dtype=float).reshape(-1, 3) for c in contours]
    assert max(sum(len(str(v)) + 1 for v in c.ContourData) for c in contours) > 65534
    assert data.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    points = np.indices((512, 64)).reshape(2, -1).T
    inside = np.zeros(len(points), bool)
    for value in values:
        flat = value[:, :2] - affine[:2, 3]
        inside ^= Polygon(np.vstack([flat, flat[:1]]), closed=True).contains_points(points)
    assert np.array_equal(inside.reshape(512, 64), comb[:, :, 0])


def test_short_contours_are_explicit_and_of_even_length(ct, tmp_path):
    write_rtstruct(tmp_path / "rs.dcm", {"Box": box()}, ct)
    assert pydicom.dcmread(tmp_path / "rs.dcm").file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    raw = (tmp_path / "rs.dcm").read_bytes()
    start, found = raw.find(struct.pack("<HH", 0x3006, 0x0050)), 0
    while start >= 0:
        kind, length = struct.unpack("<2sH", raw[start + 4 : start + 8])
        text = raw[start + 8 : start + 8 + length]
        assert kind == b"DS" and length % 2 == 0
        assert all(len(value.strip()) <= 16 for value in text.split(b"\\"))
        start, found = raw.find(struct.pack("<HH", 0x3006, 0x0050), start + 8 + length), found + 1
    assert found == 2


# PS3.3 C.7.3.1.1.2: what rows and columns of an axial image run along in each position of the patient.
@pytest.mark.parametrize(
    ("position", "row", "column"),
    [
        ("HFS", [1, 0, 0], [0, 1, 0]),
        ("HFP", [-1, 0, 0], [0, -1, 0]),
        ("FFS", [-1, 0, 0], [0, 1, 0]),
        ("FFP", [1, 0, 0], [0, -1, 0]),
        ("", [0, 1, 0], [0, 0, -1]),
    ],
)
def test_the_patients_position_agrees_with_the_orientation(tmp_path, position, row, column):
    affine = np.eye(4)
    affine[:3, :3] = np.transpose([row, column, np.cross(row, column)])
    series = write_ct_series(tmp_path, np.zeros((4, 5, 3)), affine, name="A^B", patient_id="1")
    data = pydicom.dcmread(series.files[0])
    assert data.PatientPosition == position
    assert [float(v) for v in data.ImageOrientationPatient] == [*row, *column]


def test_a_ct_without_frame_of_reference_gets_one_for_all(ct, tmp_path):
    headers = tuple(copy.deepcopy(header) for header in ct.headers)
    for header in headers:
        del header.FrameOfReferenceUID
    bare = CTSeries(ct.files, headers, ct.affine, ct.shape)
    structures = write_rtstruct(tmp_path / "rs.dcm", {"Box": box()}, bare)
    plan = write_rtplan(tmp_path / "rp.dcm", bare, structures)
    dose = write_rtdose(tmp_path / "rd.dcm", np.ones(SHAPE), bare, plan)
    uid = structures.FrameOfReferenceUID
    assert uid and uid == plan.FrameOfReferenceUID == dose.FrameOfReferenceUID
    assert structures.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID == uid
    assert structures.StructureSetROISequence[0].ReferencedFrameOfReferenceUID == uid


def test_names_that_the_inputs_character_set_lacks(tmp_path):
    reference = pydicom.Dataset()
    reference.SpecificCharacterSet, reference.PatientName, reference.PatientID = "ISO_IR 100", "Müller^Jörg", "7"
    written = write_ct_series(tmp_path / "ct", np.zeros(SHAPE), np.eye(4), name="", patient_id="", reference=reference)
    # What is read from a file is still encoded, unlike what was just set.
    series = CTSeries(written.files, tuple(pydicom.dcmread(f) for f in written.files), written.affine, written.shape)
    assert "StudyInstanceUID" not in reference
    write_rtstruct(tmp_path / "rs.dcm", {"Мочевой пузырь": box(), "膀胱": box()}, series)
    data = pydicom.dcmread(tmp_path / "rs.dcm")
    assert [roi.ROIName for roi in data.StructureSetROISequence] == ["Мочевой пузырь", "膀胱"]
    assert str(data.PatientName) == "Müller^Jörg"
    assert pydicom.dcmread(written.files[0]).SpecificCharacterSet == "ISO_IR 100"


@pytest.mark.parametrize("name", ["", "x" * 65, "PTV\\7800"])
def test_a_name_that_dicom_cannot_hold_is_refused(ct, tmp_path, name):
    with pytest.raises(DataError, match="cannot be a name in DICOM"):
        write_rtstruct(tmp_path / "rs.dcm", {name: box()}, ct)
    assert not list(tmp_path.iterdir())


def test_what_is_no_number_is_refused(ct, tmp_path):
    hu = np.zeros(SHAPE)
    hu[0, 0, 0] = np.nan
    with pytest.raises(DataError, match="not finite"):
        write_ct_series(tmp_path / "ct", hu, np.eye(4), name="A^B", patient_id="1")
    for prescription in (float("nan"), 0.0, -60.0):
        with pytest.raises(DataError, match="no prescription"):
            write_rtplan(tmp_path / "rp.dcm", ct, None, prescription_gy=prescription)
    assert not list(tmp_path.iterdir())


def test_a_long_description_does_not_overflow(ct, tmp_path):
    words = "RESEARCH ONLY " + "x" * 100
    write_rtdose(tmp_path / "d.dcm", np.ones(SHAPE), ct, write_rtplan(tmp_path / "p.dcm", ct, None), description=words)
    data = pydicom.dcmread(tmp_path / "d.dcm")
    assert data.DoseComment == data.SeriesDescription == words[:64]


def test_numpy_colours_become_plain_numbers(ct, tmp_path):
    colours = {"Box": np.array([1, 2, 255], np.uint8)}
    data = write_rtstruct(tmp_path / "rs.dcm", {"Box": box()}, ct, colours=colours, roi_types={"Box": "EXTERNAL"})
    assert all(
        type(v) is pydicom.valuerep.IS and v == w
        for v, w in zip(
            pydicom.dcmread(tmp_path / "rs.dcm").ROIContourSequence[0].ROIDisplayColor, [1, 2, 255], strict=True
        )
    )
    assert data.RTROIObservationsSequence[0].RTROIInterpretedType == "EXTERNAL"


def ball_of(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> np.ndarray:
    """A ball of 28 mm, well above the 5 cc below which a voxel more or less counts."""
    offsets = (np.indices(shape) - np.array([40, 28, 11])[:, None, None, None]) * np.array(spacing)[:, None, None, None]
    return (offsets**2).sum(axis=0) < 28**2


@pytest.mark.parametrize(("x", "y"), [(1, 1), (-1, -1), (-1, 1)], ids=["HFS", "HFP", "FFS"])
def test_another_rasteriser_draws_the_same_mask(tmp_path, x, y):
    """Matplotlib's point-in-polygon test, at the centres of the voxels by the affine: every voxel, so Dice is 1."""
    shape = (72, 64, 24)
    affine = np.diag([1.7 * x, 2.3 * y, 3.0 * x * y, 1.0])
    affine[:3, 3] = [-51.123456, -203.5, -412.75]
    series = write_ct_series(tmp_path / "ct", np.zeros(shape), affine, name="A^B", patient_id="1")
    noise = np.random.default_rng(0).random(shape) > 0.5  # islands, holes, corners that touch, the border
    for name, mask in {"Ball": ball_of(shape, (1.7, 2.3, 3.0)), "Noise": noise}.items():
        write_rtstruct(tmp_path / "rs.dcm", {name: mask}, series)
        drawn = np.zeros(shape, bool)
        centres = np.indices(shape[:2]).reshape(2, -1).T
        for contour in pydicom.dcmread(tmp_path / "rs.dcm").ROIContourSequence[0].ContourSequence:
            indices = (np.array(contour.ContourData, float).reshape(-1, 3) - affine[:3, 3]) / np.diag(affine)[:3]
            k = round(float(indices[0, 2]))
            assert np.allclose(indices[:, 2], k, atol=1e-3)
            closed = np.vstack([indices[:, :2], indices[:1, :2]])
            drawn[:, :, k] ^= Polygon(closed, closed=True).contains_points(centres).reshape(shape[:2])
        assert np.array_equal(drawn, mask), name


def test_pydicomrt_finds_both_conformant_and_draws_the_mask_with_a_rim(tmp_path):
    pytest.importorskip("pydicomrt")
    from pydicomrt.dose.check import check_rtdose_iod
    from pydicomrt.rs.check import check_rtstruct_iod, is_rtstruct_matching_series
    from pydicomrt.rs.rs_to_volume import calc_image_series_affine_mapping, rtstruct_to_masks

    shape = (72, 64, 24)
    affine = np.diag([1.7, 2.3, 3.0, 1.0])
    affine[:3, 3] = [-51.1, -203.5, -412.75]
    series = write_ct_series(tmp_path / "ct", np.zeros(shape), affine, name="A^B", patient_id="1")
    ball = ball_of(shape, (1.7, 2.3, 3.0))
    structures = write_rtstruct(tmp_path / "rs.dcm", {"Ball": ball}, series)
    plan = write_rtplan(tmp_path / "rp.dcm", series, structures)
    write_rtdose(tmp_path / "rd.dcm", 60.0 * ball, series, plan)
    data = pydicom.dcmread(tmp_path / "rs.dcm")
    for result in (check_rtstruct_iod(data), check_rtdose_iod(pydicom.dcmread(tmp_path / "rd.dcm"))):
        assert result["result"], result["content"]
    images = [pydicom.dcmread(file) for file in series.files]
    assert is_rtstruct_matching_series(data, images)
    theirs = rtstruct_to_masks(data, *calc_image_series_affine_mapping(images))["Ball"]["mask_volume"]
    theirs = theirs.transpose(2, 1, 0) > 0
    # It rounds points to whole voxels and counts the border in (0.96 Dice here): a rim of one voxel, and nothing else.
    cross = ndimage.generate_binary_structure(3, 1) & (np.arange(3) == 1)
    assert (theirs >= ball).all()
    assert not (theirs & ~ndimage.binary_dilation(ball, cross)).any()
