# SPDX-License-Identifier: Apache-2.0
"""Every unusual folder, made from a phantom patient by changing what a planning system might have changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from ctan_networks.datasets.prostate.phantoms import prostate_cohort
from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.patient_folder import read_prescription, read_treatment_plan, scan_folder


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    return Path(prostate_cohort(tmp_path_factory.mktemp("cohort"), patients=1)) / "P001"


@pytest.fixture
def patient(original, tmp_path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "patient"))


def files(folder: Path, modality: str) -> list[Path]:
    objects = scan_folder(folder)
    if modality == "CT":
        return [file for series in objects.ct.values() for file in series]
    return {"RTSTRUCT": objects.structure_sets, "RTDOSE": objects.doses, "RTPLAN": objects.plans}[modality]


def change(paths: list[Path], edit: Callable[[pydicom.Dataset], None], suffix: str = "") -> list[Path]:
    """Edit files in place, or write edited copies beside them."""
    written = []
    for path in paths:
        data = pydicom.dcmread(path)
        edit(data)
        written.append(path.with_name(path.name + suffix))
        data.save_as(written[-1])
    return written


def copy_series(folder: Path, suffix: str = "_second", **changes) -> str:
    """A second CT series, with other instances; returns its UID."""
    uid = generate_uid()

    def edit(data: pydicom.Dataset) -> None:
        data.SeriesInstanceUID, data.SOPInstanceUID = uid, generate_uid()
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        for name, value in changes.items():
            setattr(data, name, value)

    change(files(folder, "CT"), edit, suffix=suffix)
    return uid


def error(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_treatment_plan(scan_folder(folder))
    assert str(folder) in str(caught.value)
    return str(caught.value)


def test_a_whole_patient(patient):
    plan = read_treatment_plan(scan_folder(patient))
    assert plan.structure_set is not None and plan.plan is not None and plan.doses
    prescription, total = read_prescription(scan_folder(patient))
    # The doses of this patient are those of beams.
    assert prescription.gray == plan.prescription and total is None and len(plan.doses) > 1
    z = [float(h.ImagePositionPatient[2]) for h in plan.ct.headers]
    assert z == sorted(z)
    assert np.allclose(plan.ct.affine @ [2, 3, 1, 1], [*_position(plan.ct.headers[1], 2, 3), 1])


def _position(header: pydicom.Dataset, column: int, row: int) -> np.ndarray:
    """DICOM PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1."""
    x, y = np.split(np.array(header.ImageOrientationPatient, float), 2)
    between_rows, between_columns = header.PixelSpacing
    return np.array(header.ImagePositionPatient, float) + x * column * between_columns + y * row * between_rows


def test_names_and_sub_folders_do_not_matter(original, tmp_path):
    rng = np.random.default_rng(0)
    flat = [p for p in original.rglob("*") if p.is_file()]
    for number, k in enumerate(rng.permutation(len(flat))):
        target = tmp_path / "p" / ("a" if number % 3 else "b/c") / f"{number:06d}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(flat[k], target)
    (tmp_path / "p" / "notes.txt").write_text("no DICOM")
    (tmp_path / "p" / "DICOMDIR").write_bytes(b"passed over")
    plan, renamed = (read_treatment_plan(scan_folder(f)) for f in (original, tmp_path / "p"))
    assert renamed.ct.uid == plan.ct.uid and np.array_equal(renamed.ct.affine, plan.ct.affine)
    assert np.array_equal(renamed.ct.volume(), plan.ct.volume())
    assert {str(d.SOPInstanceUID) for _, d in renamed.doses} == {str(d.SOPInstanceUID) for _, d in plan.doses}


def test_another_series_and_other_modalities_are_left_aside(patient):
    own = read_treatment_plan(scan_folder(patient)).ct.uid
    copy_series(patient, suffix="_mr", Modality="MR")
    copy_series(patient, SeriesDescription="4D CT, phase 50")
    assert "2 CT series" in scan_folder(patient).summary() and "MR" in scan_folder(patient).summary()
    # The structures say which of the two CT series was planned on.
    assert read_treatment_plan(scan_folder(patient)).ct.uid == own


def test_two_series_and_nothing_that_tells(patient):
    copy_series(patient)
    for file in files(patient, "RTSTRUCT"):
        file.unlink()
    assert "2 CT series" in error(patient) and "Leave one CT series" in error(patient)


def test_structures_of_another_series(patient):
    def edit(data: pydicom.Dataset) -> None:
        for frame in data.ReferencedFrameOfReferenceSequence:
            for series in frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence:
                series.SeriesInstanceUID = generate_uid()

    change(files(patient, "RTSTRUCT"), edit)
    assert "no structure set was drawn on this CT series" in error(patient)


def test_structures_that_name_no_series_count_by_their_frame_of_reference(patient):
    def forget(data: pydicom.Dataset) -> None:
        for frame in data.ReferencedFrameOfReferenceSequence:
            del frame.RTReferencedStudySequence

    change(files(patient, "RTSTRUCT"), forget)
    assert read_treatment_plan(scan_folder(patient)).structure_set is not None

    def elsewhere(data: pydicom.Dataset) -> None:
        for item in (*data.ReferencedFrameOfReferenceSequence, *data.StructureSetROISequence):
            for name in ("FrameOfReferenceUID", "ReferencedFrameOfReferenceUID"):
                if name in item:
                    setattr(item, name, generate_uid())

    change(files(patient, "RTSTRUCT"), elsewhere)
    assert "no structure set was drawn on this CT series" in error(patient)


def test_localizers_are_no_second_series(patient):
    own = read_treatment_plan(scan_folder(patient)).ct.uid
    for file in files(patient, "RTSTRUCT"):
        file.unlink()
    copy_series(patient, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    objects = scan_folder(patient)
    assert "CT localizer" in objects.summary()
    assert read_treatment_plan(objects, need_structures=False).ct.uid == own


def test_no_structures_no_dose_no_ct(original, patient, tmp_path):
    for modality, words in (("RTSTRUCT", "no structures"), ("RTDOSE", "no dose"), ("CT", "no CT images")):
        folder = Path(shutil.copytree(original, tmp_path / modality))
        for file in files(folder, modality):
            file.unlink()
        assert words in error(folder)


def test_of_two_structure_sets_the_plans_one_is_taken(patient):
    own = read_treatment_plan(scan_folder(patient)).structure_set[1].SOPInstanceUID

    def later(data: pydicom.Dataset) -> None:
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.StructureSetDate = "29991231"

    change(files(patient, "RTSTRUCT"), later, suffix="_later")
    assert read_treatment_plan(scan_folder(patient)).structure_set[1].SOPInstanceUID == own
    for file in files(patient, "RTPLAN"):
        file.unlink()
    assert read_treatment_plan(scan_folder(patient)).structure_set[1].SOPInstanceUID != own


def test_a_dose_of_another_frame_of_reference(patient):
    change(files(patient, "RTDOSE"), lambda data: setattr(data, "FrameOfReferenceUID", generate_uid()))
    assert "another frame of reference" in error(patient)


def test_doses_of_two_plans_and_two_totals(patient):
    def other(data: pydicom.Dataset) -> None:
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.DoseSummationType = "PLAN"

    (first, *_) = files(patient, "RTDOSE")
    for file in files(patient, "RTDOSE")[1:]:
        file.unlink()
    change([first], lambda data: setattr(data, "DoseSummationType", "PLAN"))
    (second,) = change([first], other, suffix="_second")
    assert "2 total doses of one plan" in error(patient)
    change([second], lambda d: setattr(d.ReferencedRTPlanSequence[0], "ReferencedSOPInstanceUID", generate_uid()))
    assert "doses of 2 plans" in error(patient)


def test_missing_duplicated_and_shifted_slices(original, tmp_path):
    def broken(name: str) -> tuple[Path, list[Path]]:
        folder = Path(shutil.copytree(original, tmp_path / name))
        return folder, list(read_treatment_plan(scan_folder(folder)).ct.files)

    folder, slices = broken("missing")
    slices[9].unlink()
    assert "missing or double" in error(folder)
    folder, slices = broken("double")
    shutil.copy(slices[9], slices[9].with_name("again"))
    assert "missing or double" in error(folder)
    folder, slices = broken("shifted")
    change([slices[9]], lambda d: setattr(d, "ImagePositionPatient", [0, *d.ImagePositionPatient[1:]]))
    assert "not parallel and in line" in error(folder)
    folder, slices = broken("one")
    for file in slices[1:]:
        file.unlink()
    assert "a single CT slice" in error(folder)


def test_tilted_gantry_and_series_that_are_not_axial(original, tmp_path):
    angle = np.deg2rad(12)
    tilted = Path(shutil.copytree(original, tmp_path / "tilted"))
    # A tilted gantry: the planes lean, while the table still moves along z.
    change(
        files(tilted, "CT"), lambda d: setattr(d, "ImageOrientationPatient", [1, 0, 0, 0, np.cos(angle), np.sin(angle)])
    )
    assert "gantry tilt" in error(tilted)
    coronal = Path(shutil.copytree(original, tmp_path / "coronal"))

    def stand_up(data: pydicom.Dataset) -> None:
        x, y, z = data.ImagePositionPatient
        data.ImageOrientationPatient, data.ImagePositionPatient = [1, 0, 0, 0, 0, -1], [x, z, -y]

    change(files(coronal, "CT"), stand_up)
    assert "not axial" in error(coronal)


def test_mixed_pixel_spacings_and_sizes(original, tmp_path):
    for name, value in (("PixelSpacing", [1.5, 1.5]), ("Rows", 7)):
        folder = Path(shutil.copytree(original, tmp_path / name))
        change([files(folder, "CT")[3]], lambda data, n=name, v=value: setattr(data, n, v))
        assert f"differ in {name}" in error(folder)


def test_cut_files_are_named(original, tmp_path):
    folder = Path(shutil.copytree(original, tmp_path / "cut"))
    victim = files(folder, "CT")[4]
    victim.write_bytes(victim.read_bytes()[:300])
    assert victim.name in error(folder)


def test_slices_without_geometry_are_named(original, tmp_path):
    folder = Path(shutil.copytree(original, tmp_path / "bare"))
    change([files(folder, "CT")[4]], lambda data: delattr(data, "PixelSpacing"))
    with pytest.raises(DataError, match="lacks PixelSpacing"):
        read_treatment_plan(scan_folder(folder))


def test_a_plan_without_prescription(patient):
    change(files(patient, "RTPLAN"), lambda data: delattr(data, "DoseReferenceSequence"))
    assert read_treatment_plan(scan_folder(patient)).prescription is None
