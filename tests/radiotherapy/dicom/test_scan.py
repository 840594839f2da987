# SPDX-License-Identifier: Apache-2.0
"""What a folder holds, whatever scanners and archives put beside the slices of a CT."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from beside_ct import BESIDE, add_report, add_scout, add_series, edit_slices, into_folders, renew, save, slices
from small_patient import SHAPE, write_small_patient

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.patient_folder import read_ct, read_treatment_plan, scan_folder


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    return write_small_patient(tmp_path_factory.mktemp("scan") / "p")


@pytest.fixture
def patient(original, tmp_path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "p"))


@pytest.mark.parametrize("what", BESIDE)
@pytest.mark.parametrize("nested", [False, True])
def test_what_lies_beside_a_ct_changes_nothing(patient, what, nested):
    expected = read_treatment_plan(scan_folder(patient))
    hu = expected.ct.volume()
    if nested:
        into_folders(patient)
    BESIDE[what](patient)
    for plan in (read_treatment_plan(scan_folder(patient)).ct, read_ct(scan_folder(patient))):
        assert plan.uid == expected.ct.uid and plan.shape == SHAPE
        np.testing.assert_array_equal(plan.volume(), hu)


def test_the_summary_says_what_was_found(patient):
    add_scout(patient, "SCOUT")
    add_report(patient, ".")
    add_series(patient, "PT", "PT")
    found = scan_folder(patient)
    assert found.other == {"CT localizer": 1, "Secondary Capture Image Storage": 1, "PT": SHAPE[2]}
    assert "1 CT series (one of 10 files)" in found.summary() and "1 Secondary Capture" in found.summary()


def test_a_second_reconstruction_is_refused_where_nothing_tells(patient):
    add_series(patient, "CTB")
    (patient / "RS.dcm").unlink()
    for read in (read_ct, lambda found: read_treatment_plan(found, need_structures=False, need_dose=None)):
        with pytest.raises(DataError, match="2 CT series, and no structure set tells"):
            read(scan_folder(patient))


def test_a_coronal_reformat_is_ignored(patient):
    expected = read_ct(scan_folder(patient))
    (patient / "RS.dcm").unlink()
    add_series(patient, "MPR")

    def stand_up(data: pydicom.Dataset) -> None:
        x, y, z = data.ImagePositionPatient
        data.ImageOrientationPatient, data.ImagePositionPatient = [1, 0, 0, 0, 0, -1], [x, z, -y]

    edit_slices((patient / "MPR").iterdir(), stand_up)
    assert read_ct(scan_folder(patient)).uid == expected.uid


@pytest.mark.parametrize("change", ["orientation", "series"])
def test_a_slice_with_a_wrong_header_is_never_left_out(patient, change):
    """At the end of the series its absence would leave no gap."""

    def edit(data: pydicom.Dataset) -> None:
        if change == "orientation":
            data.ImageOrientationPatient = [1, 0, 0, 0, 0, 1]
        else:
            data.SeriesInstanceUID += ".1"

    edit_slices(slices(patient)[-1:], edit)
    with pytest.raises(DataError, match="continues a CT series"):
        read_ct(scan_folder(patient))


def test_many_slices_across_the_others_are_no_scouts(patient):
    edit_slices(slices(patient)[:4], lambda data: setattr(data, "ImageOrientationPatient", [1, 0, 0, 0, 0, -1]))
    with pytest.raises(DataError, match="across each other"):
        read_ct(scan_folder(patient))


def test_a_screenshot_in_colours_that_calls_itself_a_ct_image(patient):
    data = renew(pydicom.dcmread(slices(patient)[0]))
    data.SamplesPerPixel, data.PhotometricInterpretation = 3, "RGB"
    save(data, patient / "screen")
    data = renew(pydicom.dcmread(slices(patient)[0]))
    data.ImageType = ["DERIVED", "SECONDARY", "SCREEN SAVE"]
    save(data, patient / "dose")
    assert scan_folder(patient).other == {"CT screenshot": 2}
    assert read_ct(scan_folder(patient)).shape == SHAPE


def test_other_modalities_are_no_ct(patient):
    edit_slices(slices(patient), lambda data: setattr(data, "Modality", "MR"))
    with pytest.raises(DataError, match="no CT images"):
        read_ct(scan_folder(patient))
    edit_slices(slices(patient), lambda data: setattr(data, "Modality", "Doe^Jane, MR"))
    assert "Doe" not in scan_folder(patient).summary()
