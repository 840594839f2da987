# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.radiotherapy.dose_check import (
    check_given,
    check_gray,
    check_maximum,
    check_target_dose,
    check_whole_treatment,
    is_target,
)


def test_a_prescription_that_is_typed_in():
    assert check_given(None) is None and check_given(78) == 78.0
    for wrong in (0, -5, 7800, float("nan"), "78 Gy", [78]):
        with pytest.raises(ConfigError, match="the whole treatment in Gy"):
            check_given(wrong)


def test_targets_by_their_names():
    assert [name for name in ("PTV", "ptv56", "CTVn", "GTV 1", "Bladder", "optPTV") if is_target(name)] == [
        "PTV", "ptv56", "CTVn", "GTV 1",
    ]  # fmt: skip


@pytest.mark.parametrize(("low", "high"), [(0, 8.4), (0, 81.5), (0.1, 160)])
def test_doses_in_gray(low, high):
    check_gray("x", low, high)


@pytest.mark.parametrize(
    ("low", "high", "reason"),
    [(0, 0, "no dose in it"), (0, 1.07, "relative"), (0, 8150, "cGy"), (-2, 70, "no dose is negative")],
)
def test_values_that_are_no_dose_in_gray(low, high, reason):
    with pytest.raises(DataError, match=f"file.nii.gz.*{reason}"):
        check_gray("file.nii.gz", low, high)


@pytest.mark.parametrize("median", [78, 79.2, 75, 66, 94])
def test_a_target_that_receives_its_prescription(median):
    said = check_target_dose("x", 78, {"PTV": median, "CTV": 60})
    assert f"{median:.1f} Gy" in said and ("unusual" in said) == (not 0.9 <= median / 78 <= 1.1)


@pytest.mark.parametrize(
    ("prescription", "median", "advice"),
    [
        (74, 43.0, "beam or a plan may be missing"),  # one of three beams
        (74, 105.1, "counted twice"),
        (50, 79.2, "counted twice"),  # a plan and its boost
        (60, 100.0, "counted twice"),  # per cent
        (2, 79.2, "that of a fraction: the dose is 40 times"),
        (78, 7920, "102 times"),
        (78, 0.0, "may be missing"),
    ],
)
def test_a_target_that_receives_another_dose(prescription, median, advice):
    with pytest.raises(DataError, match=advice) as caught:
        check_target_dose("patient 7", prescription, {"PTV": median})
    assert "patient 7" in str(caught.value) and f"{prescription:g} Gy" in str(caught.value)
    assert f"{median:.1f} Gy" in str(caught.value)


def test_fractions_tell_what_was_taken_for_what():
    with pytest.raises(DataError, match="The prescription is that of one of the 39 fractions"):
        check_target_dose("x", 2, {"PTV": 79.2}, fractions=39)
    with pytest.raises(DataError, match="The dose is that of one of the 39 fractions"):
        check_target_dose("x", 78, {"PTV": 2.03}, fractions=39)


def test_of_several_levels_the_highest_must_be_the_nearest():
    check_target_dose("x", 70, {"PTV": 70.4}, levels=(54, 70))
    with pytest.raises(DataError, match="also prescribes 70 Gy"):
        check_target_dose("x", 78, {"PTV": 70.4}, levels=(70, 78))


def test_the_highest_target_counts_and_none_is_said():
    check_target_dose("x", 70, {"PTV56": 57, "PTV70": 71})
    assert "no target is drawn" in check_target_dose("x", 70, {})


def test_without_a_target_the_maximum_counts():
    check_maximum("x", 78, 81.5)
    for prescription, maximum in ((2, 81.5), (78, 2.1)):
        with pytest.raises(DataError, match=f"{prescription} Gy, and the dose reaches {maximum}"):
            check_maximum("x", prescription, maximum)


def test_a_prescription_of_a_fraction():
    check_whole_treatment("x", 41.4, None)
    check_whole_treatment("x", 2, 2.3)
    # A dose that is too low says nothing against the prescription.
    check_whole_treatment("x", 78, 2.1)
    for maximum, words in ((81.5, "reaches 81.5"), (None, "that of a fraction")):
        with pytest.raises(DataError, match=words):
            check_whole_treatment("x", 2, maximum)
