# SPDX-License-Identifier: Apache-2.0
"""A CT whose end is missing shows by what goes on there."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from beside_ct import slices
from small_patient import AFFINE, MASKS, SHAPE, change, write_small_patient

from ctan_networks.datasets.case_reader import CaseReader
from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.patient_folder import read_ct, read_treatment_plan, scan_folder
from ctan_networks.radiotherapy.dicom.write_rtdose import write_rtdose
from ctan_networks.radiotherapy.dicom.write_rtstruct import write_rtstruct


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """Structures reach to slices 3 and 8, the dose above 1 % to 2 and 8."""
    folder = write_small_patient(tmp_path_factory.mktemp("extent") / "p")
    ct = read_ct(scan_folder(folder))
    dose = np.zeros(SHAPE)
    dose[5:15, 3:13, 2:9] = 30
    dose[MASKS["PTV"]] = 60
    dose[:, :, 9] = 0.3
    write_rtdose(folder / "RD1.dcm", dose, ct, pydicom.dcmread(folder / "RP.dcm"), bits=16, uid_root="1/1")
    write_rtstruct(folder / "RS.dcm", MASKS, ct, uid_root="1")
    return folder


@pytest.fixture
def patient(original, tmp_path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "p"))


def cut(patient: Path, *missing: int) -> None:
    files = slices(patient)
    for k in missing:
        files[k].unlink()


def message(patient: Path) -> str:
    said = []
    for read in (read_ct, read_treatment_plan, lambda _: CaseReader().get_data(patient)):
        with pytest.raises(DataError, match="the CT ends where something goes on") as caught:
            read(scan_folder(patient))
        said.append(str(caught.value))
    assert len(set(said)) == 1
    return said[0]


def test_an_end_that_nothing_reaches_may_be_missing(patient):
    cut(patient, 0, 9)
    assert read_treatment_plan(scan_folder(patient)).ct.shape == (*SHAPE[:2], 8)


def test_structures_go_on(patient):
    (patient / "RD1.dcm").unlink()
    cut(patient, 8, 9)
    with pytest.raises(DataError, match="ROI 'Bladder' of RS.dcm by 1.4 mm"):
        read_ct(scan_folder(patient))


def test_the_dose_goes_on(patient):
    cut(patient, 0, 1, 2)
    said = message(patient)
    assert "the dose of RD1.dcm by 1.4 mm" in said and "RS.dcm" not in said
    cut(patient, 0)
    assert "ROI 'PTV' of RS.dcm by 1.4 mm" in message(patient)


def test_what_lies_elsewhere_tells_nothing(patient):
    """A dose of another frame of reference; a structure far off; a file that cannot be read."""
    cut(patient, 0, 1, 2)
    change(patient / "RD1.dcm", lambda data: setattr(data, "FrameOfReferenceUID", "1.2.3"))
    assert read_ct(scan_folder(patient)).shape == (*SHAPE[:2], 7)

    def far(data: pydicom.Dataset) -> None:
        for contour in data.ROIContourSequence[0].ContourSequence:
            points = np.array(contour.ContourData, float).reshape(-1, 3) + np.array([0, 0, 500])
            contour.ContourData = [f"{v:.3f}" for v in points.ravel()]

    change(patient / "RS.dcm", far)
    assert read_ct(scan_folder(patient)).shape == (*SHAPE[:2], 7)

    def damaged(data: pydicom.Dataset) -> None:
        data.ROIContourSequence[1].ContourSequence[0].ContourData = ["1", "2"]

    change(patient / "RS.dcm", damaged)
    assert read_ct(scan_folder(patient)).affine[2, 3] == AFFINE[2, 3] + 3 * AFFINE[2, 2]
