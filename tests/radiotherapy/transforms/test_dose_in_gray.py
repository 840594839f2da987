# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging

import pytest
import torch

from ctan_networks.errors import ConfigError
from ctan_networks.radiotherapy import DoseInGrayd

TARGETS = {"PTV56": 56.0, "PTV63": 63.0, "PTV70": 70.0}
STRUCTURES = ["Cord", *TARGETS]


def case(*drawn: str, **more: float) -> dict:
    masks = torch.zeros(len(STRUCTURES), 2, 2, 2)
    for name in drawn:
        masks[STRUCTURES.index(name), 0] = 1
    return {"case": "a", "dose": torch.full((1, 2, 2, 2), 0.5), "contours": masks, **more}


def given(**more) -> DoseInGrayd:
    return DoseInGrayd("dose", 70.0, unit_key="prescription", learnt=True, targets=TARGETS, structures=STRUCTURES)


@pytest.mark.parametrize(
    ("drawn", "prescription", "unit"),
    [
        (("PTV70", "PTV56"), 70.0, 70.0),
        (("PTV70",), 41.4, 41.4),
        # The highest target that is drawn gets the prescription: 0.9 of the channel's highest level is 54 Gy.
        (("PTV63", "PTV56"), 54.0, 60.0),
        # A dose of the scheme that was learnt.
        (("PTV63", "PTV56"), 63.0, 70.0),
        (("PTV63",), 70.0, 70.0),
        ((), 60.0, 60.0),
    ],
)
def test_the_highest_target_gets_the_patients_prescription(drawn, prescription, unit, caplog):
    caplog.set_level(logging.INFO)
    out = given()(case(*drawn, prescription=prescription))
    assert out["unit"] == pytest.approx(unit) and float(out["dose"].max()) == pytest.approx(unit / 2)
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == (unit != 70)
    assert all(f"{prescription:g} Gy" in text for text in warned)


def test_a_warning_names_both_levels(caplog):
    DoseInGrayd("dose", 70.0, unit_key="prescription", learnt=True)(case(prescription=41.4))
    (text,) = caplog.messages
    assert "41.4 Gy" in text and "70 Gy" in text and text.startswith("case a:")


def test_without_a_prescription_the_unit_counts(caplog):
    caplog.set_level(logging.INFO)
    assert given()(case("PTV70"))["unit"] == 70
    assert DoseInGrayd("dose", 78.0, unit_key="prescription")(case())["unit"] == 78
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert all("no prescription; its dose is for 7" in text for text in caplog.messages)
    caplog.clear()
    assert DoseInGrayd("dose", 78.0)(case(prescription=60.0))["unit"] == 78 and not caplog.records


def test_a_target_that_is_no_structure():
    with pytest.raises(ConfigError, match="PTV70"):
        DoseInGrayd("dose", 70.0, targets=TARGETS, structures=["PTV56", "PTV63"])
