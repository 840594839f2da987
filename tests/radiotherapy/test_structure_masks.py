# SPDX-License-Identifier: Apache-2.0
"""Structures are what was drawn: what is kept, what is left out with a word, and what is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from drawn_patient import disc, discs, edit, volume_cc, write_drawn_patient
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.convert import convert_patient

PATTERNS = {
    "Bladder": ["bladder", "blase"],
    "PTV": ["ptv.*"],
    "FemoralHeadLeft": ["femheadl"],
    "FemoralHeadRight": ["femheadr"],
}
BLADDER, PTV = ("Bladder", discs(range(4, 10))), ("PTV", discs(range(5, 9), radius=30))


@pytest.fixture
def convert(tmp_path) -> Callable[..., dict[str, float]]:
    """Write a patient, change it, convert it: volumes in cc."""

    def run(rois, change: Callable[[Dataset], None] | None = None, **options) -> dict[str, float]:
        write_drawn_patient(tmp_path / "P1", rois, **options)
        if change is not None:
            edit(tmp_path / "P1", change)
        found = convert_patient(tmp_path / "P1", tmp_path / "out" / "P1", PATTERNS, need_dose=False)
        for name in found["structures"]:
            assert nib.load(tmp_path / "out" / "P1" / f"{name}.nii.gz").get_fdata().any()
        return {name: structure["volume_cc"] for name, structure in found["structures"].items()}

    return run


def roi(data: Dataset, name: str) -> tuple[Dataset, Dataset]:
    """Its items in StructureSetROISequence and ROIContourSequence."""
    pairs = zip(data.StructureSetROISequence, data.ROIContourSequence, strict=True)
    return next((roi, entry) for roi, entry in pairs if roi.ROIName == name)


def name_images(entry: Dataset, uids: list[str]) -> None:
    for k, contour in enumerate(entry.ContourSequence):
        image = Dataset()
        image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", uids[k % len(uids)]
        contour.ContourImageSequence = [image]


def test_what_is_drawn(convert):
    assert convert([BLADDER, PTV]) == {
        "Bladder": pytest.approx(volume_cc(6), rel=0.06),
        "PTV": pytest.approx(volume_cc(4, 30), rel=0.06),
    }


@pytest.mark.parametrize("name", ["Bladder", " Bladder", "Bladder "])
@pytest.mark.parametrize("first", [True, False])
def test_two_rois_of_one_name_are_refused_with_their_numbers(convert, name, first):
    draft = (name, discs([4, 5], radius=12))
    with pytest.raises(DataError) as caught:
        convert([draft, BLADDER, PTV] if first else [BLADDER, draft, PTV])
    words = ("RS.dcm", "structure Bladder: 2 ROIs are called 'Bladder'", "with 2 contours", "with 6 contours")
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    "other",
    [
        ("Bladder", []),
        ("Bladder", [disc(12, radius=0.5)]),
        BLADDER,
    ],
    ids=["not drawn", "a stray click", "the same contours"],
)
def test_two_rois_of_one_name_that_do_not_contradict_each_other(convert, other):
    assert convert([other, BLADDER])["Bladder"] == convert([BLADDER])["Bladder"]


def test_two_rois_of_a_name_that_no_pattern_matches_do_not_matter(convert):
    assert "Bladder" in convert([("help", discs([3])), ("help", discs([4])), BLADDER])


def test_an_roi_in_another_frame_of_reference(convert, caplog):
    def move(data: Dataset) -> None:
        roi(data, "Bladder")[0].ReferencedFrameOfReferenceUID = generate_uid()

    with pytest.raises(DataError, match="ROI 'Bladder' lies in another frame of reference than the CT"):
        convert([BLADDER, PTV], move)
    # One in the CT's own frame is there.
    found = convert([BLADDER, ("blase", discs(range(4, 8), radius=15)), PTV], move)
    assert found["Bladder"] == pytest.approx(volume_cc(4, 15), rel=0.1)
    assert "case P1: ROI 'Bladder' lies in another frame of reference" in caplog.text


def test_an_roi_on_the_images_of_another_series(convert):
    others = [generate_uid() for _ in range(16)]

    def own(data: Dataset) -> list[str]:
        series = data.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence
        return [image.ReferencedSOPInstanceUID for image in series[0].ContourImageSequence]

    def listed(data: Dataset) -> None:
        study = data.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
        second, images = Dataset(), []
        for uid in others:
            image = Dataset()
            image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", uid
            images.append(image)
        second.SeriesInstanceUID, second.ContourImageSequence = generate_uid(), images
        study.RTReferencedSeriesSequence.append(second)
        name_images(roi(data, "Bladder")[1], others)

    def unlisted(data: Dataset) -> None:
        name_images(roi(data, "PTV")[1], own(data))
        name_images(roi(data, "Bladder")[1], others)

    def lost(data: Dataset) -> None:
        """As where images were given new UIDs, and structures others."""
        for name in ("PTV", "Bladder"):
            name_images(roi(data, name)[1], others)

    for change in (listed, unlisted):
        with pytest.raises(DataError, match="ROI 'Bladder' was drawn on the images of another series than the CT"):
            convert([BLADDER, PTV], change)
    assert set(convert([BLADDER, PTV], lost)) == {"Bladder", "PTV"}
    assert set(convert([BLADDER, PTV], lambda d: name_images(roi(d, "Bladder")[1], own(d)))) == {"Bladder", "PTV"}


@pytest.mark.parametrize(
    "click",
    [disc(15, radius=0.5), np.full((4, 3), 15.0), disc(15, 30.1, 2.1, radius=1.5)],
    ids=["click", "point", "on"],
)
def test_a_stray_click_is_as_good_as_not_drawn_and_the_patient_stays(convert, caplog, click):
    assert set(convert([("Bladder", [click]), PTV])) == {"PTV"}
    assert "case P1: ROI 'Bladder' encloses less than a voxel" in caplog.text


def test_a_structure_between_the_centres_of_voxels(convert, caplog):
    strip = np.array([[-80, -0.9, 15], [80, -0.9, 15], [80, 0.9, 15], [-80, 0.9, 15]])
    assert set(convert([("Bladder", [strip]), PTV])) == {"PTV"}
    assert "case P1: ROI 'Bladder' encloses no voxel's centre" in caplog.text


def test_contours_of_a_number_that_no_roi_has(convert, caplog):
    def lose(data: Dataset) -> None:
        roi(data, "Bladder")[1].ReferencedROINumber = 77

    assert set(convert([BLADDER, PTV], lose)) == {"PTV"}
    assert "RS.dcm: 6 contours are left out: they have the ROI numbers 77" in caplog.text


def test_two_lists_of_contours_of_one_roi(convert):
    def again(data: Dataset) -> None:
        data.ROIContourSequence.append(roi(data, "Bladder")[1])

    def other(data: Dataset) -> None:
        second = Dataset()
        second.ReferencedROINumber = roi(data, "Bladder")[1].ReferencedROINumber
        second.ContourSequence = roi(data, "PTV")[1].ContourSequence
        data.ROIContourSequence.append(second)

    assert convert([BLADDER, PTV], again)["Bladder"] == pytest.approx(volume_cc(6), rel=0.06)
    with pytest.raises(DataError, match=r"ROI number \d has two lists of contours that differ"):
        convert([BLADDER, PTV], other)


@pytest.mark.parametrize(
    ("contours", "said"),
    [
        (discs(range(100, 106)), "its contours lie outside of the CT"),
        (discs(range(4, 10), x=400), "its contours lie outside of the CT"),
        (discs(range(10, 20)), "the CT ends where something goes on: ROI 'Bladder' of RS.dcm by 10.4 mm"),
        (discs(range(-1, 6)), "the CT ends where something goes on: ROI 'Bladder' of RS.dcm by 1.4 mm"),
        (discs(range(4, 10), x=118), "of its outline lie beside the CT's pixels"),
    ],
)
def test_structures_outside_of_the_ct_are_refused_for_their_own_reason(convert, contours, said):
    with pytest.raises(DataError) as caught:
        convert([("Bladder", contours), PTV])
    assert "ROI 'Bladder'" in str(caught.value) and said in str(caught.value)


def test_a_stray_click_outside_of_the_ct_is_none(convert):
    clicked = ("Bladder", [*BLADDER[1], disc(600, radius=0.5), disc(15, 900, radius=0.5)])
    assert convert([clicked, PTV])["Bladder"] == convert([BLADDER, PTV])["Bladder"]


def test_what_leaves_the_pixels_by_a_little_is_said(convert, caplog):
    assert "Bladder" in convert([("Bladder", discs(range(4, 10), x=107)), PTV])
    assert "case P1: ROI 'Bladder': " in caplog.text and "% of its outline lie beside the CT's pixels" in caplog.text


def test_gaps_that_are_not_filled_are_said(convert, caplog):
    caplog.set_level("INFO")
    four = ("Bladder", discs([1, 2, 9, 14]))
    assert convert([four])["Bladder"] == pytest.approx(volume_cc(4), rel=0.1)
    assert "case P1: ROI 'Bladder' has gaps of up to 21.0 mm, 10 slices in all, which are not filled" in caplog.text


def test_contours_that_cross_are_said(convert, caplog):
    twice = ("Bladder", [*BLADDER[1], *discs(range(4, 7), x=4)])
    convert([twice])
    assert "case P1: contours of ROI 'Bladder' cross one another in 3 planes" in caplog.text
    caplog.clear()
    # A hole that touches the outline, neighbours, and a hole.
    convert([("Bladder", [*BLADDER[1], *discs([5], radius=5), *discs([6], x=50), *discs([7], x=10, radius=10)])])
    assert not caplog.text


LEFT, RIGHT = discs(range(4, 10), x=70), discs(range(4, 10), x=-70)


@pytest.mark.parametrize(
    ("left", "right", "said"),
    [
        (RIGHT, LEFT, "FemoralHeadLeft does not lie to the patient's left of FemoralHeadRight: it lies 140 mm to its"),
        (LEFT, LEFT, "FemoralHeadLeft does not lie to the patient's left of FemoralHeadRight: they lie in one place"),
        (RIGHT, [], "FemoralHeadLeft lies 70 mm to the patient's right of the body's middle"),
        ([], LEFT, "FemoralHeadRight lies 70 mm to the patient's left of the body's middle"),
        (LEFT, discs(range(4, 10), x=45), "FemoralHeadRight lies 45 mm to the patient's left of the body's middle"),
    ],
)
def test_left_and_right_exchanged(convert, left, right, said):
    with pytest.raises(DataError) as caught:
        convert([("Fem Head L", left), ("Fem_Head_R", right), PTV])
    assert said in str(caught.value) and "is the ROI 'Fem" in str(caught.value)


def test_sides_that_are_right(convert):
    assert set(convert([("Fem Head L", LEFT), ("Fem_Head_R", RIGHT)])) == {"FemoralHeadLeft", "FemoralHeadRight"}
    assert set(convert([("Fem Head L", LEFT)])) == {"FemoralHeadLeft"}


def test_names_in_the_order_of_the_structure_set_without_the_patients(tmp_path):
    write_drawn_patient(tmp_path / "P1", [("Zebra", discs([4])), BLADDER, ("a Zephyr's", discs([5])), ("none", [])])
    found = convert_patient(tmp_path / "P1", tmp_path / "out" / "P1", PATTERNS, need_dose=False)
    assert found["rois"] == ["Zebra", "Bladder", "a ...'s"] and found["unmatched"] == ["Zebra", "a ...'s"]
    again = convert_patient(tmp_path / "P1", tmp_path / "out" / "P1", PATTERNS, need_dose=False)
    assert again["rois"] == found["rois"] and "unmatched" not in again


class TestStructureSets:
    """Of a folder that holds a plan, or several structure sets."""

    @pytest.fixture
    def planned(self, tmp_path) -> Path:
        write_drawn_patient(tmp_path / "P1", [BLADDER, PTV], prescription=60.0)
        return tmp_path / "P1"

    def convert(self, folder: Path) -> float:
        found = convert_patient(folder, folder.parent / "out" / "P1", PATTERNS, need_dose=False)
        return found["structures"]["Bladder"]["volume_cc"]

    def of_another(self, folder: Path, date: str, planned: str) -> None:
        """The plan, of one date, refers to another structure set than the one of the other date."""

        def refer(plan: Dataset) -> None:
            plan.ReferencedStructureSetSequence[0].ReferencedSOPInstanceUID = generate_uid()
            plan.RTPlanDate, plan.RTPlanTime = planned, "120000"

        edit(folder, refer, "RP.dcm")
        edit(folder, lambda data: data.__setattr__("StructureSetDate", date))

    def second(self, folder: Path, date: str | None = None, uid: bool = True) -> None:
        """Another structure set, with a smaller bladder."""
        data = pydicom.dcmread(folder / "RS.dcm")
        roi(data, "Bladder")[1].ContourSequence = roi(data, "Bladder")[1].ContourSequence[:3]
        data.StructureSetDate = date or data.StructureSetDate
        if uid:
            data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.save_as(folder / "RS2.dcm")

    def test_older_than_the_plan_that_refers_to_another(self, planned):
        self.of_another(planned, date="20200101", planned="20200301")
        with pytest.raises(DataError, match=r"the plan RP.dcm was made on another structure set than RS.dcm, which is"):
            self.convert(planned)

    @pytest.mark.parametrize("dates", [("20200401", "20200301"), ("", "20200301"), ("20200301", "")])
    def test_drawn_after_the_plan_or_at_an_unknown_time(self, planned, dates, caplog):
        self.of_another(planned, *dates)
        assert self.convert(planned) == pytest.approx(volume_cc(6), rel=0.06)
        assert "the plan refers to another structure set than RS.dcm" in caplog.text

    def test_the_plans_own_is_taken_whatever_the_dates(self, planned, caplog):
        self.second(planned, date="29990101")
        assert self.convert(planned) == pytest.approx(volume_cc(6), rel=0.06)
        assert not caplog.text

    def test_two_of_one_time_without_a_plan(self, planned):
        (planned / "RP.dcm").unlink()
        self.second(planned)
        with pytest.raises(DataError, match=r"2 structure sets of one CT \(RS.dcm, RS2.dcm\), and neither a plan nor"):
            self.convert(planned)

    def test_the_later_of_two_without_a_plan(self, planned, caplog):
        (planned / "RP.dcm").unlink()
        self.second(planned, date="29990101")
        assert self.convert(planned) == pytest.approx(volume_cc(3), rel=0.06)
        assert "2 structure sets of one CT; the latest is taken: RS2.dcm" in caplog.text

    def test_two_that_are_the_same(self, planned):
        (planned / "RP.dcm").unlink()
        data = pydicom.dcmread(planned / "RS.dcm")
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.save_as(planned / "RS2.dcm")
        assert self.convert(planned) == pytest.approx(volume_cc(6), rel=0.06)
