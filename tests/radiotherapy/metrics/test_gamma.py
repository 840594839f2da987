# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
import sys

import numpy as np
import pytest
import torch
from scipy import ndimage

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.radiotherapy.metrics.gamma import gamma_pass_rate

SPACING = (3.0, 2.0, 2.5)


def blob(seed: int = 0, error: float = 6.0, shape: tuple[int, int, int] = (9, 12, 10)) -> tuple[np.ndarray, np.ndarray]:
    """A dose that falls off slowly from the middle and another that differs from it by smooth noise of ``error`` Gy."""
    rng = np.random.default_rng(seed)
    place = np.indices(shape).astype(float)
    centre = np.array([(n - 1) / 2 for n in shape])[:, None, None, None]
    distance = np.sqrt((((place - centre) * np.array(SPACING)[:, None, None, None]) ** 2).sum(0))
    dose = 60 / (1 + np.exp((distance - 10) / 6))
    noise = ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
    return dose, np.clip(dose + error * noise / noise.std(), 0, None)


def brute_force(reference, prediction, percent, distance, cutoff, local=False, step=0.2):
    """Gamma of the definition, over a grid of points round each voxel."""
    ticks = np.arange(-np.ceil(distance / step), np.ceil(distance / step) + 1) * step
    offsets = np.stack(np.meshgrid(ticks, ticks, ticks, indexing="ij"), -1).reshape(-1, 3)
    length = np.linalg.norm(offsets, axis=1)
    offsets, length = offsets[length <= distance + 1e-9], length[length <= distance + 1e-9]
    values = []
    for index in np.argwhere(reference >= cutoff / 100 * reference.max()):
        points = index + offsets / SPACING
        within = ((points >= 0) & (points <= np.array(reference.shape) - 1)).all(1)
        found = ndimage.map_coordinates(prediction, points[within].T, order=1)
        own = reference[tuple(index)]
        criterion = percent / 100 * (own if local else reference.max())
        values.append(np.sqrt(((found - own) / criterion) ** 2 + (length[within] / distance) ** 2).min())
    return np.array(values)


@pytest.mark.parametrize(
    ("percent", "distance", "local", "fraction", "low"),
    [(3, 3, False, 10, 0.92), (2, 2, False, 10, 0.92), (5, 3, True, 10, 0.92), (3, 3, False, 30, 0.98)],
)
def test_brute_force_agrees(percent, distance, local, fraction, low):
    pytest.importorskip("pymedphys")
    reference, prediction = blob()
    result = gamma_pass_rate(reference, prediction, SPACING, percent, distance, local=local, interp_fraction=fraction)
    values = brute_force(reference, prediction, percent, distance, 10, local)
    assert result.points == values.size > 200
    # No search finds less than the least value. One in coarser steps finds more, where the dose is steep.
    assert 100 * (values <= low).mean() <= result.percent <= 100 * (values <= 1.01).mean()
    assert 50 < result.percent < 95 and (abs(values - 0.97) < 0.05).mean() < 0.1, "a case that tells right from wrong"


def test_flat_doses_by_hand_and_normalisation():
    pytest.importorskip("pymedphys")
    reference = torch.full((1, 5, 5, 5), 50.0)
    for offset, wanted in ((1.45, 100), (1.55, 0), (-1.45, 100), (-1.55, 0)):
        assert gamma_pass_rate(reference, reference + offset, 3.0) == (wanted, 125)
    # 3 % of 60 Gy is 1.8 Gy.
    assert gamma_pass_rate(reference, reference + 1.75, 3.0, normalisation=60.0).percent == 100
    assert gamma_pass_rate(reference, reference + 1.85, 3.0, normalisation=60.0).percent == 0
    reference[0, 0] = 5.5
    # Here 10 % of the maximum is less than 5.5 Gy, and 10 % of 60 Gy more.
    assert gamma_pass_rate(reference, reference, 3.0).points == 125
    assert gamma_pass_rate(reference, reference, 3.0, normalisation=60.0).points == 100


def test_a_shift_passes_up_to_the_distance_and_along_the_axis_of_that_spacing():
    pytest.importorskip("pymedphys")
    reference = np.zeros((12, 6, 6))
    reference[4:8] = 60.0
    shifted = np.roll(reference, 1, axis=0)
    # The dose that jumps is shifted by one voxel: 2.9 mm or 3.6 mm.
    assert gamma_pass_rate(reference, shifted, (2.9, 9, 9)).percent == 100
    assert gamma_pass_rate(reference, shifted, (3.6, 1, 1)).percent < 100
    turned = np.array([[0, 9.0, 0, 5], [0, 0, 9, 6], [-2.9, 0, 0, 7], [0, 0, 0, 1]])
    assert gamma_pass_rate(reference, shifted, turned).percent == 100


def test_a_subset_is_the_same_each_time_and_near_the_whole():
    pytest.importorskip("pymedphys")
    reference, prediction = blob()
    whole = gamma_pass_rate(reference, prediction, SPACING, random_subset=None)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    draws = [gamma_pass_rate(reference, prediction, SPACING, random_subset=250, seed=seed) for seed in (0, 0, 1)]
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002
    assert draws[0] == draws[1] != draws[2]
    assert {draw.points for draw in draws} == {250}
    assert all(abs(draw.percent - whole.percent) < 8 for draw in draws) and whole.points > 250


def test_voxels_of_unknown_reference_are_left_out():
    pytest.importorskip("pymedphys")
    reference, prediction = blob(shape=(6, 6, 6))
    reference[..., 4:] = np.nan
    whole = gamma_pass_rate(reference, prediction, SPACING)
    assert 0 < whole.points <= 6 * 6 * 4 and np.isfinite(whole.percent)


def test_nothing_is_left_in_the_log(caplog):
    pytest.importorskip("pymedphys")
    before = list(logging.getLogger().handlers), list(logging.getLogger().filters)
    with caplog.at_level("DEBUG"):
        gamma_pass_rate(*blob(shape=(4, 5, 5)), SPACING)
    assert not caplog.records and (logging.getLogger().handlers, logging.getLogger().filters) == before


def test_what_cannot_be_compared_is_refused(monkeypatch):
    pytest.importorskip("pymedphys")
    dose = np.full((4, 4, 4), 50.0)
    broken = dose.copy()
    broken[0, 0, 0] = np.nan
    sheared = np.eye(4)
    sheared[0, 1] = 0.2
    for arguments, message in (
        ((dose, dose[:3], 3.0), "one grid"),
        ((dose, broken, 3.0), "NaN"),
        ((0 * dose, dose, 3.0), "not zero"),
        ((dose, dose, sheared), "right angles"),
        ((dose, dose, [3.0, 3.0]), "three numbers"),
        ((dose, dose, -3.0), "positive numbers"),
        ((dose[0], dose[0], 3.0), r"\[i, j, k\]"),
    ):
        with pytest.raises(DataError, match=message):
            gamma_pass_rate(*arguments)
    with pytest.raises(ConfigError, match="distance_mm must be a positive number"):
        gamma_pass_rate(dose, dose, 3.0, distance_mm=0)
    monkeypatch.setitem(sys.modules, "pymedphys", None)
    with pytest.raises(ConfigError, match=r'pip install "ctan-networks\[gamma\]"'):
        gamma_pass_rate(dose, dose, 3.0)
