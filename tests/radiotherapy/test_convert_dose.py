# SPDX-License-Identifier: Apache-2.0
"""What becomes of a patient whose dose, prescription and structures do not agree: named and left out, by every list."""

from __future__ import annotations

import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import Dataset
from small_patient import MASKS, PATTERNS, SHAPE, change, copy_of, write_small_patient

from ctan_networks.datasets.inference_cases import prescribed_list
from ctan_networks.datasets.prostate.data_list import dicom_rt_list
from ctan_networks.errors import ConfigError, DataError


@pytest.fixture
def patient(tmp_path) -> Path:
    return write_small_patient(tmp_path / "data" / "p")


def item_of(folder: Path, prescription: float | None = None) -> dict:
    (item,) = dicom_rt_list(folder.parent, folder.parents[1] / "converted", PATTERNS, prescription)
    return item


def scale(factor: float):
    return lambda data: setattr(data, "DoseGridScaling", f"{float(data.DoseGridScaling) * factor:.8g}")


def cut(low: int, high: int):
    """Leave some frames of a dose."""

    def edit(data: Dataset) -> None:
        kept = data.pixel_array[low:high]
        offsets = [float(v) for v in data.GridFrameOffsetVector]
        x, y, z = (float(v) for v in data.ImagePositionPatient)
        data.ImagePositionPatient = [x, y, z + offsets[low]]
        data.GridFrameOffsetVector = [v - offsets[low] for v in offsets[low:high]]
        data.NumberOfFrames, data.PixelData = len(kept), kept.tobytes()

    return edit


def test_what_was_decided_is_in_the_log_once_and_in_one_line(patient, caplog):
    caplog.set_level(logging.INFO)
    assert item_of(patient)["prescription"] == 60
    line = "case p: the plan's dose; prescription 60 Gy, as the plan states; the median dose of PTV is 60.0 Gy (100 %)"
    assert [r.getMessage() for r in caplog.records if "prescription" in r.getMessage()] == [line]
    caplog.clear()
    # When nothing is converted again, too.
    item_of(patient)
    assert [r.getMessage() for r in caplog.records] == [line]


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (0.5, "60 Gy, and the median dose of PTV is 30.0 Gy"),
        (1.5, "counted twice"),
        (100, "in cGy"),
        (1 / 60, "relative"),
        (1 / 30, "the median dose of PTV is 2.0 Gy"),
    ],
)
def test_a_dose_of_another_level(patient, factor, words):
    change(patient / "RD1.dcm", scale(factor))
    assert words in item_of(patient)["unusable"]


def test_a_prescription_of_a_fraction_and_one_that_is_given(patient, caplog):
    caplog.set_level(logging.INFO)
    change(patient / "RP.dcm", lambda d: setattr(d.DoseReferenceSequence[0], "TargetPrescriptionDose", 2))
    assert "may be that of a fraction: the dose is 30 times as high" in item_of(patient)["unusable"]
    with pytest.raises(DataError, match="prescription is 2 Gy, and the dose reaches 60.0 Gy"):
        prescribed_list(patient)
    # What is given overrides what the plan states, and is compared with the dose as well.
    assert item_of(patient, 60)["prescription"] == 60
    assert "as given (the plan states 2 Gy)" in caplog.text
    assert "the prescription is 80 Gy" in item_of(patient, 80)["unusable"]
    assert prescribed_list(patient, 66)[0]["prescription"] == 66


def test_a_prescription_and_a_dose_of_the_same_fraction(patient):
    """They agree, and are yet not those of the treatment; somebody has to say so."""
    change(patient / "RP.dcm", lambda d: setattr(d.DoseReferenceSequence[0], "TargetPrescriptionDose", 2))
    change(patient / "RD1.dcm", scale(1 / 30))
    assert "2 Gy, which is that of a fraction" in item_of(patient)["unusable"]
    assert item_of(patient, 2)["prescription"] == 2
    with pytest.raises(ConfigError, match="--prescription 6000"):
        item_of(patient, 6000)


def test_without_a_dose_a_prescription_of_a_fraction_shows_by_its_size(patient):
    (patient / "RD1.dcm").unlink()
    assert prescribed_list(patient)[0]["prescription"] == 60
    change(patient / "RP.dcm", lambda d: setattr(d.DoseReferenceSequence[0], "TargetPrescriptionDose", 1.8))
    with pytest.raises(DataError, match="1.8 Gy, which is that of a fraction"):
        prescribed_list(patient)


def test_a_beam_that_is_missing_shows_by_the_dose_where_the_plan_lists_none(tmp_path):
    folder = write_small_patient(tmp_path / "data" / "p", shares=(0.5, 0.3, 0.2))
    assert "median dose of PTV is 60" in _said(folder)
    copy_of(folder / "RD3.dcm", "RD4.dcm")
    assert "hold the same dose" in item_of(folder)["unusable"]
    (folder / "RD4.dcm").unlink()
    (folder / "RD1.dcm").unlink()
    assert "A beam or a plan may be missing" in item_of(folder)["unusable"]
    # To predict, no dose is needed.
    assert prescribed_list(folder)[0]["prescription"] == 60


def _said(folder: Path) -> str:
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("ctan_networks")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        assert "unusable" not in item_of(folder)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    return "\n".join(records)


def test_a_grid_that_does_not_cover_the_target(patient):
    change(patient / "RD1.dcm", cut(0, 6))
    assert "25 % of PTV lie outside of the dose grid" in item_of(patient)["unusable"]


def test_a_grid_that_does_not_cover_an_organ(patient):
    change(patient / "RD1.dcm", cut(0, 8))
    assert "unknown, outside of its grid, in 20 % of Bladder" in _said(patient)
    dose = nib.load(item_of(patient)["dose"])
    assert dose.shape == (*SHAPE[:2], 8)


def test_doses_of_beams_on_grids_of_different_size_are_known_where_all_are(tmp_path):
    folder = write_small_patient(tmp_path / "data" / "p", shares=(0.5, 0.3, 0.2))
    whole = nib.load(item_of(folder)["dose"]).get_fdata()
    change(folder / "RD2.dcm", cut(1, 9))
    image = nib.load(item_of(folder)["dose"])
    assert image.shape == (*SHAPE[:2], 8) and np.allclose(image.get_fdata(), whole[:, :, 1:9], atol=1e-3)
    assert image.affine[2, 3] == 103
    assert MASKS["PTV"][:, :, [0, 9]].sum() == 0


def test_uneven_frames_do_not_become_zero_outside(patient):
    def uneven(data: Dataset) -> None:
        keep = [1, 2, 3, 4, 5, 6, 8]
        data.PixelData = data.pixel_array[keep].tobytes()
        x, y, z = (float(v) for v in data.ImagePositionPatient)
        data.NumberOfFrames, data.ImagePositionPatient = len(keep), [x, y, z + 3]
        data.GridFrameOffsetVector = [3 * (k - 1) for k in keep]

    change(patient / "RD1.dcm", uneven)
    image = nib.load(item_of(patient)["dose"])
    # Half of a frame's distance beyond the first and last frame: the slices at 103 to 127 mm.
    assert image.shape == (*SHAPE[:2], 9) and image.affine[2, 3] == 103
    assert image.get_fdata().min() > 5


def test_a_prescription_that_is_not_known_says_why(patient):
    (patient / "RP.dcm").unlink()
    reason = item_of(patient)["unusable"]
    assert "the dose's plan is not in the folder" in reason and "--prescription" in reason
    assert item_of(patient, 60)["prescription"] == 60
    assert "prescription" not in prescribed_list(patient)[0]


def test_one_bad_patient_does_not_stop_a_prediction_on_others(patient, caplog):
    other = write_small_patient(patient.parent / "q", root="2", prescription=2)
    (item,) = prescribed_list(patient.parent)
    assert item["case"] == "p" and "skipped: case q: " in caplog.text and other.name in caplog.text
