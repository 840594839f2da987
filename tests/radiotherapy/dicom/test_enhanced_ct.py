# SPDX-License-Identifier: Apache-2.0
"""Enhanced (multi-frame) CT images give what the single-frame slices gave that they were made of."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from beside_ct import add_scout, enhance, slices
from small_patient import MASKS, PATTERNS, SHAPE, write_small_patient

from ctan_networks.datasets.case_reader import CaseReader
from ctan_networks.datasets.inference_cases import inference_list
from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.convert import convert_patient
from ctan_networks.radiotherapy.dicom.patient_folder import read_ct, read_treatment_plan, scan_folder
from ctan_networks.radiotherapy.dicom.rtstruct import read_structures
from ctan_networks.radiotherapy.dicom.write_rtstruct import write_rtstruct
from ctan_networks.radiotherapy.dicom.write_seg import write_seg


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    folder = write_small_patient(tmp_path_factory.mktemp("enhanced") / "p")
    rng = np.random.default_rng(0)
    for file in slices(folder):
        data = pydicom.dcmread(file)
        data.PixelData = (data.pixel_array + rng.integers(0, 20, data.pixel_array.shape)).astype(np.uint16).tobytes()
        data.save_as(file)
    return folder


@pytest.fixture
def patient(original, tmp_path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "p"))


def assert_same(folder: Path, original: Path) -> None:
    one, other = (read_treatment_plan(scan_folder(path)).ct for path in (original, folder))
    np.testing.assert_allclose(other.affine, one.affine, atol=1e-6)
    np.testing.assert_array_equal(other.volume(), one.volume())
    array, meta = CaseReader().get_data(folder)
    np.testing.assert_array_equal(array, one.volume())
    np.testing.assert_allclose(meta["affine"], np.diag([-1, -1, 1, 1]) @ one.affine, atol=1e-6)


@pytest.mark.parametrize("per_frame", [False, True])
def test_one_file(patient, original, per_frame):
    enhance(slices(patient), patient / "E.dcm", np.random.default_rng(1).permutation(SHAPE[2]), per_frame)
    assert_same(patient, original)


def test_several_files_of_one_series(patient, original):
    files = slices(patient)
    enhance(files[::2], patient / "E1.dcm")
    enhance(files[1::2], patient / "E2.dcm")
    assert_same(patient, original)


def test_highdicoms_legacy_converted_image(patient, original):
    highdicom = pytest.importorskip("highdicom")
    files = slices(patient)
    data = [pydicom.dcmread(file) for file in files]
    for single in data:
        single.KVP, single.RescaleType = 120, "HU"
    converted = highdicom.legacy.LegacyConvertedEnhancedCTImage(
        legacy_datasets=data,
        series_instance_uid=data[0].SeriesInstanceUID,
        series_number=1,
        sop_instance_uid=pydicom.uid.generate_uid(),
        instance_number=1,
    )
    converted.save_as(patient / "legacy.dcm")
    for file in files:
        file.unlink()
    assert_same(patient, original)


def test_a_frame_that_is_a_localizer_is_left_out(patient, original):
    files = slices(patient)
    add_scout(patient, ".", tagged=False, own_series=False)
    file = enhance([*files, patient / "scout0"], patient / "E.dcm")
    data = pydicom.dcmread(file)
    frame = data.PerFrameFunctionalGroupsSequence[-1]
    frame.CTImageFrameTypeSequence = data.SharedFunctionalGroupsSequence[0].CTImageFrameTypeSequence
    scout = pydicom.Dataset()
    scout.FrameType = ["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"]
    frame.CTImageFrameTypeSequence = [scout]
    data.save_as(file)
    assert_same(patient, original)


def test_it_is_listed_read_and_converted_by_itself(patient, original, tmp_path):
    for file in patient.glob("R*.dcm"):
        shutil.copy(file, tmp_path)
    file = enhance(slices(patient), patient / "E.dcm")
    converted = convert_patient(patient, tmp_path / "converted", PATTERNS)
    assert set(converted["structures"]) == set(PATTERNS)
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.move(file, alone / "E.dcm")
    assert [item["case"] for item in inference_list(alone)] == ["alone"]
    for path in (alone, alone / "E.dcm"):
        np.testing.assert_array_equal(CaseReader().get_data(path)[0], read_ct(scan_folder(original)).volume())


def test_results_refer_to_frames(patient, tmp_path):
    pytest.importorskip("highdicom")
    order = np.random.default_rng(1).permutation(SHAPE[2])
    file = enhance(slices(patient), patient / "E.dcm", order)
    ct = read_ct(scan_folder(patient))
    written = write_rtstruct(tmp_path / "RS.dcm", MASKS, ct)
    image = pydicom.dcmread(file)
    for roi in written.ROIContourSequence:
        for contour in roi.ContourSequence:
            (reference,) = contour.ContourImageSequence
            assert reference.ReferencedSOPInstanceUID == image.SOPInstanceUID
            frame = image.PerFrameFunctionalGroupsSequence[int(reference.ReferencedFrameNumber) - 1]
            assert frame.PlanePositionSequence[0].ImagePositionPatient[2] == pytest.approx(contour.ContourData[2])
    series = written.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    assert len(series.ContourImageSequence) == 1
    assert len(read_structures(tmp_path / "RS.dcm")) == 2
    seg = pydicom.dcmread(write_seg(tmp_path / "SEG.dcm", MASKS, ct))
    found = {name: np.zeros(SHAPE, bool) for name in MASKS}
    for frame, plane in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        name = list(MASKS)[frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber - 1]
        z = float(frame.PlanePositionSequence[0].ImagePositionPatient[2])
        found[name][:, :, round((z - ct.affine[2, 3]) / ct.spacing[2])] = plane.T > 0
    for name, mask in MASKS.items():
        np.testing.assert_array_equal(found[name], mask)


def test_what_is_no_enhanced_image_is_refused(patient):
    files = slices(patient)
    file = enhance(files, patient / "E.dcm")
    data = pydicom.dcmread(file)
    data.NumberOfFrames = len(files) - 1
    data.save_as(file)
    with pytest.raises(DataError, match="E.dcm: 9 frames and 10 descriptions"):
        read_ct(scan_folder(patient))


def test_two_volumes_in_one_image_are_refused(patient):
    files = slices(patient)
    enhance(files, patient / "E.dcm", [*range(len(files)), *range(len(files))])
    with pytest.raises(DataError, match="missing or double"):
        read_ct(scan_folder(patient))
