# SPDX-License-Identifier: Apache-2.0
"""Doses and plans that are well formed and do not agree."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid
from small_patient import change, copy_of, list_beams, name_part, write_small_patient

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.patient_folder import (
    TreatmentPlan,
    read_prescription,
    read_treatment_plan,
    scan_folder,
)


@pytest.fixture
def patient(tmp_path) -> Path:
    return write_small_patient(tmp_path / "p")


@pytest.fixture
def beams(tmp_path) -> Path:
    """Three doses of beams, and a plan that lists these beams and one of the set-up."""
    folder = write_small_patient(tmp_path / "p", shares=(0.5, 0.3, 0.2))
    list_beams(folder / "RP.dcm", ("TREATMENT", "TREATMENT", "TREATMENT", "SETUP"))
    for k in (1, 2, 3):
        name_part(folder / f"RD{k}.dcm", beam=k)
    return folder


def read(folder: Path) -> TreatmentPlan:
    return read_treatment_plan(scan_folder(folder))


def names(plan: TreatmentPlan) -> list[str]:
    return [file.name for file, _ in plan.doses]


def error(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(folder)
    assert str(folder) in str(caught.value)
    return str(caught.value)


def boost(folder: Path, gray: float = 20.0) -> None:
    """A second plan, and a total dose that is the sum of both."""

    def prescribe(data: Dataset) -> None:
        data.DoseReferenceSequence[0].TargetPrescriptionDose = gray

    uid = read_uid(copy_of(folder / "RP.dcm", "RP2.dcm", prescribe))

    def both(data: Dataset) -> None:
        other = copy.deepcopy(data.ReferencedRTPlanSequence[0])
        other.ReferencedSOPInstanceUID = uid
        data.ReferencedRTPlanSequence.append(other)
        data.DoseSummationType = "MULTI_PLAN"

    change(folder / "RD1.dcm", both)


def read_uid(file: Path) -> str:
    found: list[str] = []
    change(file, lambda data: found.append(str(data.SOPInstanceUID)))
    return found[0]


def test_copies_of_one_object_count_once(patient, beams):
    (patient / "again").mkdir()
    for file in patient.glob("R*.dcm"):
        shutil.copy(file, patient / "again" / file.name)
    plan = read(patient)
    assert len(plan.doses) == 3 and plan.prescription == 60 and plan.structure_set is not None


def test_one_uid_for_different_content(patient):
    change(patient / "RD1.dcm", lambda d: setattr(d, "DoseGridScaling", 0.0005), to="RD9.dcm")
    assert "RD1.dcm and" in error(patient) and "same SOPInstanceUID" in error(patient)
    (patient / "RD9.dcm").unlink()
    change(patient / "RD1.dcm", lambda d: setattr(d, "PixelData", d.PixelData[::-1]), to="RD9.dcm")
    assert "same SOPInstanceUID" in error(patient)
    (patient / "RD9.dcm").unlink()
    # The way of a file leaves its traces.
    change(patient / "RD1.dcm", lambda d: setattr(d, "InstanceCreationTime", "235959"), to="RD9.dcm")
    assert len(read(patient).doses) == 1
    change(patient / "RP.dcm", lambda d: setattr(d.DoseReferenceSequence[0], "TargetPrescriptionDose", 50), to="RP9")
    assert "RP.dcm and" in error(patient)


def test_every_beam_of_the_plan_has_a_dose(beams):
    assert names(read(beams)) == ["RD1.dcm", "RD2.dcm", "RD3.dcm"]
    assert read(beams).dose.kind == "the sum of 3 doses of beams"
    (beams / "RD2.dcm").unlink()
    assert "no dose of beam 2" in error(beams)


def test_a_dose_of_a_beam_that_the_plan_does_not_have(beams):
    copy_of(beams / "RD3.dcm", "RD5.dcm")
    assert "two doses of beam 3: RD3.dcm and RD5.dcm" in error(beams)
    name_part(beams / "RD5.dcm", beam=5)
    assert "RD5.dcm is the dose of beam 5, which the plan does not have" in error(beams)


def test_beams_that_doses_do_not_name_are_counted(beams):
    def forget(data: Dataset) -> None:
        del data.ReferencedRTPlanSequence[0].ReferencedFractionGroupSequence

    for k in (1, 2, 3):
        change(beams / f"RD{k}.dcm", forget)
    assert len(read(beams).doses) == 3
    (beams / "RD2.dcm").unlink()
    assert "2 doses of beams, where the plan has 3" in error(beams)


def test_beams_without_meterset_count_where_no_beam_has_one(beams):
    def forget(data: Dataset) -> None:
        for beam in data.FractionGroupSequence[0].ReferencedBeamSequence:
            beam.BeamMeterset = None

    change(beams / "RP.dcm", forget)
    assert len(read(beams).doses) == 3

    def two(data: Dataset) -> None:
        for beam, value in zip(data.FractionGroupSequence[0].ReferencedBeamSequence, (90, 0, 80, None), strict=True):
            beam.BeamMeterset = value

    change(beams / "RP.dcm", two)
    (beams / "RD2.dcm").unlink()
    assert len(read(beams).doses) == 2


def test_a_total_dose_goes_before_its_beams(beams):
    copy_of(beams / "RD1.dcm", "TOTAL.dcm", lambda data: setattr(data, "DoseSummationType", "PLAN"))
    assert names(read(beams)) == ["TOTAL.dcm"]


def test_a_fraction_groups_dose_goes_before_its_beams(beams):
    copy_of(beams / "RD1.dcm", "GROUP.dcm", lambda data: setattr(data, "DoseSummationType", "FRACTION"))
    assert names(read(beams)) == ["GROUP.dcm"]


@pytest.mark.parametrize("kind", ["BRACHY", "CONTROL_POINT", "RECORD", ""])
def test_other_kinds_among_beams(beams, kind):
    change(beams / "RD2.dcm", lambda data: setattr(data, "DoseSummationType", kind))
    assert f"BEAM, {kind}" in error(beams) or "BEAM, empty" in error(beams) or "empty, BEAM" in error(beams)


def test_a_beam_in_another_frame_of_reference(beams):
    change(beams / "RD2.dcm", lambda data: setattr(data, "FrameOfReferenceUID", generate_uid()))
    assert "RD2.dcm lies in another frame of reference than the plan's other doses" in error(beams)


def test_the_dose_of_one_fraction_group_is_the_plans(patient):
    change(patient / "RD1.dcm", lambda data: setattr(data, "DoseSummationType", "FRACTION"))
    name_part(patient / "RD1.dcm", group=1)
    plan = read(patient)
    assert names(plan) == ["RD1.dcm"] and plan.prescription == 60 and "one fraction group" in plan.dose.kind

    def second(data: Dataset) -> None:
        group = copy.deepcopy(data.FractionGroupSequence[0])
        group.FractionGroupNumber = 2
        data.FractionGroupSequence.append(group)

    change(patient / "RP.dcm", second)
    assert "no dose of fraction group 2" in error(patient)
    copy_of(patient / "RD1.dcm", "RD2.dcm")
    assert "two doses of fraction group 1" in error(patient)
    name_part(patient / "RD2.dcm", group=2)
    assert read(patient).dose.kind == "the sum of 2 fraction groups"
    (patient / "RP.dcm").unlink()
    assert "Export the RTPLAN too" in error(patient)


@pytest.mark.parametrize("kind", ["MULTI_PLAN", "PLAN_OVERVIEW"])
def test_the_prescription_of_a_sum_is_the_sum(patient, kind):
    boost(patient)
    change(patient / "RD1.dcm", lambda data: setattr(data, "DoseSummationType", kind))
    plan = read(patient)
    assert plan.prescription == 80 and plan.dose.prescription.source == "60 + 20, as 2 plans state"
    assert plan.plan is None and len(plan.dose.plans) == 2
    (patient / "RP2.dcm").unlink()
    assert read(patient).prescription is None
    assert read(patient).dose.prescription.source == "the folder lacks 1 of the dose's 2 plans"


def test_a_sum_that_names_one_plan_or_a_plan_that_names_two(patient):
    change(patient / "RD1.dcm", lambda data: setattr(data, "DoseSummationType", "MULTI_PLAN"))
    assert read(patient).dose.prescription.source == "the dose is the sum of several plans and names 1"
    boost(patient)
    change(patient / "RD1.dcm", lambda data: setattr(data, "DoseSummationType", "PLAN"))
    assert "names 2 plans" in error(patient)


def test_the_doses_of_the_plans_beside_their_sum(patient):
    boost(patient)
    for k in (0, 1):

        def part(data: Dataset, k: int = k) -> None:
            data.DoseSummationType = "PLAN"
            data.ReferencedRTPlanSequence = Sequence([data.ReferencedRTPlanSequence[k]])

        copy_of(patient / "RD1.dcm", f"PART{k}.dcm", part)
    plan = read(patient)
    assert names(plan) == ["RD1.dcm"] and plan.prescription == 80
    (patient / "RD1.dcm").unlink()
    assert "doses of 2 plans" in error(patient)


def test_two_plans_and_a_dose_that_names_none_or_another(patient):
    copy_of(patient / "RP.dcm", "RP2.dcm")
    assert read(patient).plan[0].name == "RP.dcm"

    def forget(data: Dataset) -> None:
        del data.ReferencedRTPlanSequence

    kept = shutil.copy(patient / "RD1.dcm", patient.parent)
    change(patient / "RD1.dcm", forget)
    assert read(patient).dose.prescription.source == "2 plans, and no dose tells which"
    shutil.copy(kept, patient / "RD1.dcm")
    (patient / "RP.dcm").unlink()
    assert read(patient).prescription is None and "not in the folder" in read(patient).dose.prescription.source
    (patient / "RD1.dcm").unlink()
    # Of a single plan without dose there is no doubt.
    assert read_treatment_plan(scan_folder(patient), need_dose=False).prescription == 60


def test_plans_of_another_frame_of_reference(patient):
    copy_of(patient / "RP.dcm", "RP2.dcm", lambda data: setattr(data, "FrameOfReferenceUID", generate_uid()))
    assert read(patient).plan[0].name == "RP.dcm"
    change(patient / "RP.dcm", lambda data: setattr(data, "FrameOfReferenceUID", generate_uid()))
    assert "the plan RP.dcm lies in another frame of reference than its dose" in error(patient)


def test_several_levels_of_one_plan(patient):
    def second(data: Dataset) -> None:
        level = copy.deepcopy(data.DoseReferenceSequence[0])
        level.TargetPrescriptionDose = 54
        organ = copy.deepcopy(level)
        organ.DoseReferenceType, organ.TargetPrescriptionDose = "ORGAN_AT_RISK", 70
        data.DoseReferenceSequence += [level, organ]

    change(patient / "RP.dcm", second)
    assert read(patient).dose.prescription.levels == (54, 60) and read(patient).prescription == 60


@pytest.mark.parametrize("stated", [-1, 0, 780, 6000])
def test_a_prescription_that_is_none_in_gray(patient, stated):
    change(patient / "RP.dcm", lambda d: setattr(d.DoseReferenceSequence[0], "TargetPrescriptionDose", stated))
    assert f"prescription of {stated} Gy" in error(patient)


def test_what_is_prescribed_where_the_dose_is_not_needed(beams):
    (beams / "RD2.dcm").unlink()
    prescription, total = read_prescription(scan_folder(beams))
    assert prescription.gray == 60 and total is None
