# SPDX-License-Identifier: Apache-2.0
"""What we write, read by others; and what clinical systems refuse."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from scipy import ndimage

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.ct_series import make_series
from ctan_networks.radiotherapy.dicom.rasterise import rasterise
from ctan_networks.radiotherapy.dicom.rtdose import read_dose, resample_dose
from ctan_networks.radiotherapy.dicom.rtstruct import read_structures, referenced_series
from ctan_networks.radiotherapy.dicom.write import decimal
from ctan_networks.radiotherapy.dicom.write_ct import write_ct_series
from ctan_networks.radiotherapy.dicom.write_rtdose import write_rtdose
from ctan_networks.radiotherapy.dicom.write_rtplan import write_rtplan
from ctan_networks.radiotherapy.dicom.write_rtstruct import mask_contours, write_rtstruct

SHAPE = (70, 60, 24)
GEOMETRIES = {
    "head first, supine": ([1, 0, 0], [0, 1, 0], [0, 0, 1]),
    "head first, prone": ([-1, 0, 0], [0, -1, 0], [0, 0, 1]),
    "feet first, supine": ([-1, 0, 0], [0, 1, 0], [0, 0, -1]),
}


def affine_of(directions) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = np.array(directions, float).T * [1.7, 2.3, 3.0]
    affine[:3, 3] = [-51.123456, -203.5, -412.75]
    return affine


@pytest.fixture(scope="module", params=GEOMETRIES)
def written(request, tmp_path_factory):
    """A folder with CT, RTSTRUCT, RTDOSE and RTPLAN, and what they were made from."""
    folder = tmp_path_factory.mktemp("written")
    rng = np.random.default_rng(0)
    hu = np.round(1000 * rng.standard_normal(SHAPE)).clip(-1024, 3000)
    ct = write_ct_series(folder, hu, affine_of(GEOMETRIES[request.param]), name="Test^One", patient_id="T1")
    smooth = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 5)
    blob = smooth > np.quantile(smooth, 0.85)
    ring = np.zeros(SHAPE, bool)
    ring[5:60, 8:50, 3:20] = True
    ring[15:40, 18:40, 6:15] = False  # a hole
    ring[25:30, 25:30, 6:15] = True  # an island in it
    edge = np.zeros(SHAPE, bool)
    edge[:20, -15:, :] = True  # up to the border of the image
    masks = {"Blob": blob, "Ring_PTV": ring, "Edge": edge, "Nothing": np.zeros(SHAPE, bool)}
    dose = 70 * ndimage.gaussian_filter(rng.random(SHAPE), 2)
    structures = write_rtstruct(folder / "RS.dcm", masks, ct)
    plan = write_rtplan(folder / "RP.dcm", ct, structures, prescription_gy=66.6)
    write_rtdose(folder / "RD.dcm", dose, ct, plan)
    return folder, ct, hu, masks, dose


def every_element(data: pydicom.Dataset):
    for element in data:
        yield element
        if element.VR == "SQ":
            for item in element.value:
                yield from every_element(item)


def test_the_ct_comes_back(written):
    folder, ct, hu, _, _ = written
    files = sorted(folder.glob("CT_*.dcm"))
    again = make_series(folder, files, [pydicom.dcmread(f, stop_before_pixels=True) for f in files])
    assert np.array_equal(again.volume(), ct.volume())
    assert np.array_equal(again.volume(), hu)
    # The voxel that was highest is where it was, in the patient's coordinates.
    where = np.unravel_index(hu.argmax(), hu.shape)
    original = affine_of([ct.affine[:3, i] / np.linalg.norm(ct.affine[:3, i]) for i in range(3)])
    there = np.unravel_index(again.volume().argmax(), hu.shape)
    assert np.allclose((ct.affine @ [*there, 1])[:3], (original @ [*where, 1])[:3], atol=1e-3)


def test_masks_come_back_voxel_by_voxel(written):
    folder, ct, _, masks, _ = written
    structures = {s.name: s for s in read_structures(folder / "RS.dcm")}
    assert list(structures) == list(masks)
    for name, mask in masks.items():
        assert np.array_equal(rasterise(structures[name].contours, ct.affine, SHAPE), mask), name


def test_rt_utils_reads_the_same_masks(tmp_path):
    rt_utils = pytest.importorskip("rt_utils")
    # rt-utils 1.2.7 confuses rows and columns: images must be square, and so must pixels.
    shape, affine = (64, 64, 20), np.diag([2.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = [-51.123456, -203.5, -412.75]
    ct = write_ct_series(tmp_path / "ct", np.zeros(shape), affine, name="A", patient_id="1")
    smooth = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal(shape), 5)
    mask = smooth > np.quantile(smooth, 0.8)
    assert mask.sum() * 12 / 1000 > 5
    write_rtstruct(tmp_path / "RS.dcm", {"Blob": mask}, ct)
    reader = rt_utils.RTStructBuilder.create_from(str(tmp_path / "ct"), str(tmp_path / "RS.dcm"))
    theirs = reader.get_roi_mask_by_name("Blob").transpose(1, 0, 2)
    # Its masks take in every voxel that a contour touches: one voxel more all round, and nothing else.
    assert (theirs >= mask).all()
    cross = ndimage.generate_binary_structure(3, 1) & (np.arange(3) == 1)
    assert not (theirs & ~ndimage.binary_dilation(mask, cross)).any()


def test_the_dose_comes_back_within_half_a_step(written):
    folder, ct, _, _, dose = written
    data = pydicom.dcmread(folder / "RD.dcm")
    step = float(data.DoseGridScaling)
    by_pydicom = data.pixel_array.astype(float) * step
    assert np.abs(by_pydicom.transpose(2, 1, 0) - dose).max() <= step / 2 * (1 + 1e-6)
    grid = read_dose(folder / "RD.dcm")
    assert np.allclose(resample_dose(grid, ct.affine, SHAPE), dose, atol=1e-4)


@pytest.mark.parametrize("bits", [16, 32])
def test_a_dose_of_16_bits_and_a_grid_of_its_own(written, tmp_path, bits):
    _, ct, _, _, dose = written
    plan = write_rtplan(tmp_path / "p.dcm", ct, None)
    affine = ct.affine.copy()
    affine[:3, 3] += ct.affine[:3, :3] @ [3.25, -0.4, 2.0]
    data = write_rtdose(tmp_path / "d.dcm", dose, ct, plan, affine=affine, bits=bits)
    grid = read_dose(tmp_path / "d.dcm")
    # The reader may turn the frames round: compare in the order in which they were written.
    found = grid.dose if grid.affine[:3, 2] @ affine[:3, 2] > 0 else grid.dose[:, :, ::-1]
    assert np.abs(found - dose).max() <= float(data.DoseGridScaling) / 2 + 4e-6  # float32 of 70 Gy
    peak = np.unravel_index(dose.argmax(), dose.shape)
    found = np.unravel_index(grid.dose.argmax(), dose.shape)
    assert np.allclose(grid.affine @ [*found, 1], affine @ [*peak, 1], atol=1e-3)


def test_axes_by_the_standards_own_formula(written):
    """PS3.3 C.7.6.2.1.1: position of pixel (column, row) of a frame; frames by GridFrameOffsetVector."""
    folder, ct, _, _, dose = written
    data = pydicom.dcmread(folder / "RD.dcm")
    frame, row, column = np.unravel_index(data.pixel_array.argmax(), data.pixel_array.shape)
    x, y = np.split(np.array(data.ImageOrientationPatient, float), 2)
    position = (
        np.array(data.ImagePositionPatient, float)
        + x * float(data.PixelSpacing[1]) * column
        + y * float(data.PixelSpacing[0]) * row
        + np.cross(x, y) * float(data.GridFrameOffsetVector[frame])
    )
    assert np.allclose(position, (ct.affine @ [*np.unravel_index(dose.argmax(), dose.shape), 1])[:3], atol=1e-3)


def test_decimal_strings_have_16_characters_at_most(written):
    folder, *_ = written
    checked = 0
    for file in folder.glob("*.dcm"):
        # As stored, not as pydicom would write the number anew.
        data = pydicom.dcmread(file)
        for element in every_element(data):
            if element.VR == "DS" and element.value not in (None, ""):
                values = element.value if element.VM > 1 else [element.value]
                assert all(len(v.original_string) <= 16 for v in values), element
                checked += len(values)
    assert checked > 5_000
    assert decimal(-0.1 / 3e7) and len(decimal(-0.1 / 3e7)) <= 16 and float(decimal(1 / 3)) == pytest.approx(1 / 3)


def test_frame_offsets_are_relative_and_the_dose_lies_on_the_ct_grid(written):
    folder, ct, *_ = written
    data = pydicom.dcmread(folder / "RD.dcm")
    assert data.FrameIncrementPointer == 0x3004000C
    assert float(data.GridFrameOffsetVector[0]) == 0
    assert np.allclose(np.diff(np.array(data.GridFrameOffsetVector, float)), 3.0)
    first = ct.headers[0]
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns"):
        assert getattr(data, name) == getattr(first, name), name


# DICOM PS3.3: attributes of type 1 (must have a value) and 2 (must be there) of the modules that the IODs require.
PATIENT_STUDY = [
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
]
PATIENT_STUDY += ["ReferringPhysicianName", "StudyID"]
COMMON = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "FrameOfReferenceUID"]
IMAGE = ["Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel", "PhotometricInterpretation"]
IMAGE += ["PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "PixelData"]
DOSE = ["NumberOfFrames", "FrameIncrementPointer", "DoseUnits", "DoseType", "DoseSummationType", "DoseGridScaling"]
DOSE += ["GridFrameOffsetVector", "ReferencedRTPlanSequence"]
TYPE_1 = {
    "RS.dcm": ["StructureSetLabel", "StructureSetROISequence", "ROIContourSequence", "RTROIObservationsSequence"],
    "RD.dcm": [*IMAGE, *DOSE],
    "RP.dcm": ["RTPlanLabel", "RTPlanGeometry", "ReferencedStructureSetSequence", "FractionGroupSequence"],
    "CT_0001.dcm": [*IMAGE, "ImageType", "RescaleIntercept", "RescaleSlope"],
}
TYPE_2 = {
    "RS.dcm": ["StructureSetDate", "StructureSetTime", "OperatorsName", "SeriesNumber", "Manufacturer"],
    "RD.dcm": ["OperatorsName", "SeriesNumber", "Manufacturer", "SliceThickness", "InstanceNumber"],
    "RP.dcm": ["RTPlanDate", "RTPlanTime", "OperatorsName", "SeriesNumber", "Manufacturer"],
    "CT_0001.dcm": ["SeriesNumber", "Manufacturer", "AcquisitionNumber", "InstanceNumber", "KVP", "SliceThickness"],
}


@pytest.mark.parametrize("name", TYPE_1)
def test_mandatory_attributes(written, name):
    data = pydicom.dcmread(written[0] / name)
    for attribute in COMMON + TYPE_1[name]:
        assert data.get(attribute) not in (None, ""), attribute
    assert data.get("PixelRepresentation", 0) == 0
    for attribute in PATIENT_STUDY + TYPE_2[name]:
        assert attribute in data, attribute


def test_everything_refers_to_the_input_and_says_what_it_is(written):
    folder, ct, *_ = written
    structures, dose, plan = (pydicom.dcmread(folder / f"{n}.dcm") for n in ("RS", "RD", "RP"))
    assert structures.ApprovalStatus == plan.ApprovalStatus == "UNAPPROVED"
    for data in (structures, dose, plan):
        assert data.SeriesDescription.startswith("RESEARCH ONLY")
        assert data.FrameOfReferenceUID == ct.frame_of_reference
        assert data.StudyInstanceUID == ct.headers[0].StudyInstanceUID
        assert data.PatientID == "T1"
    assert dose.DoseComment.startswith("RESEARCH ONLY")
    assert referenced_series(structures) == {ct.uid}
    assert dose.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID == plan.SOPInstanceUID
    assert plan.ReferencedStructureSetSequence[0].ReferencedSOPInstanceUID == structures.SOPInstanceUID
    slices = {h.SOPInstanceUID: float(h.ImagePositionPatient[2]) for h in ct.headers}
    for roi in structures.ROIContourSequence:
        for contour in roi.ContourSequence:
            z = slices[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
            assert np.allclose(np.array(contour.ContourData[2::3], float), z, atol=1e-3)
            assert contour.NumberOfContourPoints * 3 == len(contour.ContourData)
    assert [o.RTROIInterpretedType for o in structures.RTROIObservationsSequence] == ["ORGAN"] * 4
    # Plain numbers, never NumPy's, in what was handed to pydicom.
    assert all(type(v) is not np.bool_ for e in every_element(structures) for v in [e.value])


def test_names_in_other_alphabets_are_carried(tmp_path):
    reference = pydicom.Dataset()
    reference.SpecificCharacterSet, reference.PatientName, reference.PatientID = "ISO_IR 192", "Müller^Jörg", "7"
    ct = write_ct_series(tmp_path, np.zeros((4, 4, 3)), np.eye(4), name="", patient_id="", reference=reference)
    write_rtstruct(tmp_path / "RS.dcm", {"A": np.ones((4, 4, 3), bool)}, ct)
    assert str(pydicom.dcmread(tmp_path / "RS.dcm").PatientName) == "Müller^Jörg"


def test_the_same_call_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        ct = write_ct_series(
            tmp_path / name,
            np.zeros((5, 4, 3)),
            np.eye(4),
            name="P",
            patient_id="1",
            uid_root="x",
            date="20200101120000",
        )
        write_rtstruct(tmp_path / name / "RS.dcm", {"A": np.ones((5, 4, 3))}, ct, uid_root="x", date="20200101120000")
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_bad_input_is_refused_and_leaves_no_file(written, tmp_path):
    _, ct, *_ = written
    plan = write_rtplan(tmp_path / "p.dcm", ct, None)
    assert plan.RTPlanGeometry == "TREATMENT_DEVICE"
    for dose, words in (
        (np.full(SHAPE, np.nan), "not finite"),
        (np.full(SHAPE, -1.0), "negative"),
        (np.zeros((3, 3, 3)), "Resample"),
    ):
        with pytest.raises(DataError, match=words):
            write_rtdose(tmp_path / "d.dcm", dose, ct, plan)
    with pytest.raises(DataError, match="'A'.*Resample"):
        write_rtstruct(tmp_path / "s.dcm", {"A": np.ones((3, 3, 3), bool)}, ct)
    sheared = np.eye(4)
    sheared[0, 2] = 0.3
    with pytest.raises(DataError, match="rectangular"):
        write_ct_series(tmp_path / "ct", np.zeros((4, 4, 3)), sheared, name="", patient_id="")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.dcm"]


def test_a_dose_of_nothing(written, tmp_path):
    _, ct, *_ = written
    write_rtdose(tmp_path / "d.dcm", np.zeros(SHAPE), ct, write_rtplan(tmp_path / "p.dcm", ct, None))
    assert read_dose(tmp_path / "d.dcm").dose.max() == 0


def test_straight_runs_have_no_points_in_the_middle():
    mask = np.zeros((30, 30), bool)
    mask[5:25, 5:25] = True
    (contour,) = mask_contours(mask)
    assert len(contour) == 8  # a square whose corners are cut
