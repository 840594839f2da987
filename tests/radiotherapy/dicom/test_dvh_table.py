# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from ctan_networks.radiotherapy.dicom.dvh_table import structure_dvhs
from ctan_networks.radiotherapy.dicom.rtdose import DoseGrid
from ctan_networks.radiotherapy.dicom.rtstruct import Structure


def box(name: str, low: float, high: float, frame: str = "1.2") -> Structure:
    """From ``low`` to ``high`` mm along x, 20 mm along y, ten planes 2 mm apart."""
    corners = np.array([[low, 0], [high, 0], [high, 20], [low, 20]], dtype=float)
    contours = tuple(np.column_stack([corners, np.full(4, z)]) for z in np.arange(0.0, 20, 2))
    return Structure(7, name, "PTV", contours, frame)


@pytest.fixture
def ramp() -> DoseGrid:
    """1 Gy per mm along x, from 0 to 60 mm."""
    x = np.arange(0.0, 61, 2)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = [0, -10, -4]
    dose = np.broadcast_to(x[:, None, None], (len(x), 21, 15)).astype(np.float32)
    return DoseGrid(np.ascontiguousarray(dose), affine, np.arange(15) * 2.0, "1.2")


def test_a_ramp_of_dose_gives_the_numbers_of_a_ramp(ramp):
    (found,), left_out = structure_dvhs([box("PTV", 10, 50)], ramp)
    row = found.statistics([20.0, 40.0])
    assert left_out == {} and found.volume_cc == pytest.approx(40 * 20 * 20 / 1000, rel=5e-3)
    assert found.covered == pytest.approx(100)
    assert row["mean"] == pytest.approx(30, abs=0.1)
    for percent in (99, 98, 95, 50, 2, 1):
        assert row[f"D_{percent}"] == pytest.approx(50 - 40 * percent / 100, abs=0.3)
    assert row["D_1_cc"] == pytest.approx(50 - 40 * 1 / 16, abs=0.3)
    assert row["V_20_Gy"] == pytest.approx(75, abs=1) and row["V_40_Gy_cc"] == pytest.approx(4, abs=0.2)
    assert row["minimum"] == pytest.approx(10, abs=0.3) and row["maximum"] == pytest.approx(50, abs=0.3)


def test_beyond_the_dose_grid_dose_is_unknown_and_not_zero(ramp, caplog):
    (found,), _ = structure_dvhs([box("Long", 40, 80)], ramp)
    row = found.statistics()
    assert found.volume_cc == pytest.approx(16, rel=5e-3) and found.covered == pytest.approx(50, abs=2)
    assert row["minimum"] == pytest.approx(40, abs=0.3) and row["mean"] == pytest.approx(50, abs=0.4)
    assert "lies in the dose grid" in caplog.text
    (outside,), _ = structure_dvhs([box("Away", 90, 99)], ramp)
    assert outside.covered == 0 and all(np.isnan(v) for v in outside.statistics([20]).values())


def test_structures_without_contours_or_of_another_frame_are_named(ramp):
    empty = Structure(1, "Empty", "", (), "1.2")
    found, left_out = structure_dvhs([empty, box("Elsewhere", 10, 20, "9.9"), box("PTV", 10, 50)], ramp)
    assert [d.name for d in found] == ["PTV"]
    assert left_out["Empty"] == "no contours" and "frame of reference" in left_out["Elsewhere"]
