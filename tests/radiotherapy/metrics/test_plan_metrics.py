# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.metrics.plan_metrics import (
    STATISTICS,
    dose_at_cc,
    dose_statistics,
    homogeneity_index,
    paddick_conformity,
    v_at,
)

NAN = float("nan")


def ladder(*further: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """0, 1 ... 100 Gy in a structure that leaves out what lies beside it, and further structures."""
    dose = torch.cat([torch.arange(101.0), torch.full((9,), 500.0)]).reshape(1, 11, 5, 2)
    return dose, torch.stack([(dose[0] <= 100).float(), *further])


def test_statistics_of_a_ladder_of_doses():
    dose, structures = ladder()
    (row,) = dose_statistics(dose, structures, ["Bladder"], 2.0)[0]
    wanted = {"volume_cc": 0.202, "mean": 50, "D_2": 98, "D_50": 50, "D_95": 5, "D_98": 2}
    # 0.03 cc of 0.202 cc.
    wanted["D_0.03_cc"] = 100 * (1 - 0.03 / 0.202)
    assert dict(zip(STATISTICS, row, strict=True)) == pytest.approx(wanted)


def test_statistics_are_numpy_percentiles_for_each_dose_and_nan_where_nothing_is_known():
    rng = np.random.default_rng(0)
    doses = rng.uniform(0, 80, (2, 9, 8, 7)).astype(np.float32)
    inside = rng.random((9, 8, 7)) < 0.3
    unknown = np.where(rng.random((9, 8, 7)) < 0.01, np.nan, 1.0)
    structures = torch.tensor(np.stack([inside, np.zeros_like(inside), unknown]))
    table = dose_statistics(torch.tensor(doses), structures, ["Rectum", "PTV", "Bulb"], 30.0)
    for dose, found in zip(doses.astype(float), table, strict=True):
        roi = dose[inside]
        top = 100 - 100 * 0.03 / (0.03 * roi.size)
        wanted = [0.03 * roi.size, roi.mean(), *np.percentile(roi, [top, 98, 50, 5, 2])]
        np.testing.assert_allclose(found[0], wanted, rtol=1e-6)
    assert np.isnan(table[:, 1:]).all()


def test_volume_at_dose_in_percent_and_cc():
    dose, structures = ladder(torch.zeros(11, 5, 2), torch.full((11, 5, 2), NAN))
    names = ["Bladder", "PTV", "Bulb"]
    found = v_at(dose, structures, names, 2.0, [0, 50, 50.5, 100, 101])
    # 50 Gy themselves count.
    np.testing.assert_allclose(found.percent[0, 0], np.array([101, 51, 50, 1, 0]) / 1.01, atol=1e-12)
    np.testing.assert_allclose(found.cc[0, 0], np.array([101, 51, 50, 1, 0]) * 0.002, atol=1e-12)
    assert np.isnan(found.percent[:, 1:]).all() and np.isnan(found.cc[:, 1:]).all()
    relative = v_at(dose, structures, names, 2.0, [95, 107], prescription=80.0)
    np.testing.assert_allclose(relative.cc[0, 0], [(100 - 76 + 1) * 0.002, (100 - 85) * 0.002])


def test_dose_of_a_volume_in_cc():
    doses = np.arange(11.0)
    assert dose_at_cc(doses, 0.0, 100.0) == 10
    assert dose_at_cc(doses, 0.55, 100.0) == pytest.approx(5), "half of 1.1 cc"
    assert dose_at_cc(doses, 2.0, 100.0) == 0, "more than there is: the minimum"
    assert math.isnan(dose_at_cc([], 0.1, 100.0))


def test_homogeneity_of_icru_83():
    assert homogeneity_index(np.full(50, 60.0)) == 0
    assert homogeneity_index(np.arange(101.0)) == pytest.approx((98 - 2) / 50)
    assert math.isnan(homogeneity_index([])) and math.isnan(homogeneity_index([0.0, 0.0]))


def test_paddick_by_hand():
    dose, target, body = torch.zeros(1, 5, 5, 5), torch.zeros(5, 5, 5), torch.ones(1, 5, 5, 5)
    target[0, 0, :4] = 1
    target[0, 1, :4] = 1  # TV 8
    dose[0, 0, 0, :4] = 57.0
    dose[0, 0, 1, :2] = 60.0  # TV_PIV 6
    dose[0, 3, :2, :3] = 58.0  # PIV 12
    dose[0, 4, 0] = 70.0  # 5 more outside the body
    body[:, 4] = 0
    assert paddick_conformity(dose, target, body, 57.0) == pytest.approx(6**2 / (8 * 12))
    assert paddick_conformity(dose, target, None, 57.0) == pytest.approx(6**2 / (8 * 17))
    assert paddick_conformity(dose, target, body, 59.0) == pytest.approx(2**2 / (8 * 2))
    assert paddick_conformity(dose, target, body, 65.0) == 0, "the isodose misses the target"
    assert paddick_conformity(60 * target, target, body, 57.0) == 1
    for nothing in (torch.zeros_like(target), torch.full_like(target, NAN)):
        assert math.isnan(paddick_conformity(dose, nothing, body, 57.0))


def test_what_does_not_fit_is_refused():
    dose, structures = ladder()
    with pytest.raises(DataError, match="one grid"):
        dose_statistics(dose[:, :5], structures, ["Bladder"], 1.0)
    with pytest.raises(DataError, match="each of the 2 names"):
        v_at(dose, structures, ["Bladder", "PTV"], 1.0, [50])
    with pytest.raises(DataError, match="voxel volume is 0"):
        dose_statistics(dose, structures, ["Bladder"], 0.0)
    with pytest.raises(DataError, match="prescription is 0"):
        v_at(dose, structures, ["Bladder"], 1.0, [95], prescription=0.0)
    with pytest.raises(DataError, match="one grid"):
        paddick_conformity(dose, structures[0, :5], None, 57.0)
    with pytest.raises(DataError, match="isodose is nan"):
        paddick_conformity(dose, structures[0], None, NAN)
