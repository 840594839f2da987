# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.handlers import IgniteMetricHandler, from_engine
from monai.metrics import DiceMetric, compute_dice

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.metrics import StructureDice, compute_structure_dice


def make_masks(seed, shape=(3, 7, 6, 5)):
    rng = np.random.default_rng(seed)
    return tuple(torch.tensor(rng.random(shape) < 0.4).float() for _ in range(2))


def expected_dice(prediction, reference) -> float:
    p, r = np.asarray(prediction, dtype=float), np.asarray(reference, dtype=float)
    if np.isnan(r).any() or p.sum() + r.sum() == 0:
        return np.nan
    return 2 * (p * r).sum() / (p.sum() + r.sum())


def test_worked_by_hand():
    reference = torch.tensor([[[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, torch.nan]]])
    prediction = torch.tensor([[[0, 1, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0.0]]])
    dice = compute_structure_dice(prediction, reference)
    # one voxel in common of 2 + 3; both empty; reference empty; prediction empty; unknown
    np.testing.assert_allclose(dice, [[0.4, np.nan, 0, 0, np.nan]])


@pytest.mark.parametrize("kind", [torch.float32, torch.bool, torch.uint8])
def test_agrees_with_monai_where_the_reference_is_not_empty(kind):
    masks = [make_masks(seed) for seed in range(4)]
    prediction, reference = (torch.stack(x) for x in zip(*masks, strict=True))
    masks[1][0][2] = prediction[1, 2] = 0
    dice = compute_structure_dice(prediction.to(kind), reference.to(kind))
    np.testing.assert_allclose(dice, compute_dice(prediction.bool(), reference, ignore_empty=False), atol=1e-6)
    expected = [[expected_dice(p, r) for p, r in zip(*case, strict=True)] for case in masks]
    np.testing.assert_allclose(dice, expected, atol=1e-12)


def test_mean_agrees_with_monai():
    masks = [make_masks(seed) for seed in range(4)]
    for _, reference in masks[:2]:
        reference[0] = 0
    for prediction, reference in masks[1:2]:
        prediction[0] = reference[0]
    prediction, reference = (torch.stack(x) for x in zip(*masks, strict=True))
    prediction[:2, 0] = 0  # NaN for both
    ours, theirs = StructureDice(), DiceMetric(reduction="mean")
    ours(prediction, reference)
    theirs(prediction.bool(), reference)
    assert ours.aggregate().item() == pytest.approx(theirs.aggregate().item(), abs=1e-6)
    np.testing.assert_allclose(ours.aggregate("mean_batch"), theirs.aggregate("mean_batch"), atol=1e-6)


def test_reductions_leave_out_nan():
    metric = StructureDice()
    nan = torch.nan
    # Dice of 1, 0, NaN and 0, 0, NaN
    metric([torch.tensor([[1.0, 0], [1, 0], [1, 0]])], [torch.tensor([[1.0, 0], [0, 1], [nan, nan]])])
    metric([torch.tensor([[1.0, 0], [0, 0], [0, 0]])], [torch.tensor([[0.0, 1], [0, 0], [0, 0]])])
    np.testing.assert_allclose(metric.aggregate("none"), [[1, 0, nan], [0, nan, nan]])
    np.testing.assert_allclose(metric.aggregate("mean_batch"), [0.5, 0, nan])
    assert metric.aggregate().item() == pytest.approx((0.5 + 0) / 2)
    with pytest.raises(ConfigError, match="median"):
        metric.aggregate("median")
    with pytest.raises(ConfigError, match="median"):
        StructureDice("median")


def test_nothing_known_is_nan():
    metric = StructureDice()
    prediction, reference = make_masks(0)
    metric([prediction], [torch.full_like(reference, torch.nan)])
    assert metric.aggregate().isnan()


def test_nan_prediction_is_a_miss():
    _, reference = make_masks(0)
    assert compute_structure_dice(torch.full_like(reference, torch.nan)[None], reference[None]).tolist() == [[0, 0, 0]]


def test_works_in_an_engine_with_cases_of_different_size():
    cases = [make_masks(0), make_masks(1, (3, 4, 9, 5)), make_masks(2)]
    cases[1][1][2] = torch.nan
    items = [{"predicted": MetaTensor(p), "reference": MetaTensor(r)} for p, r in cases]
    engine = Engine(lambda engine, batch: batch)
    handler = IgniteMetricHandler(StructureDice(), output_transform=from_engine(["predicted", "reference"]))
    handler.attach(engine, "dice")
    expected = np.array([[expected_dice(p, r) for p, r in zip(*case, strict=True)] for case in cases])
    for _ in range(2):
        state = engine.run([items[:2], items[2:]])
        assert state.metrics["dice"] == pytest.approx(np.nanmean(expected, 1).mean(), abs=1e-9)
        np.testing.assert_allclose(state.metric_details["dice"], expected)


def test_errors_say_what_is_wrong():
    prediction, reference = (x[None] for x in make_masks(0))
    with pytest.raises(DataError, match="must have one shape"):
        compute_structure_dice(prediction[:, :2], reference)
    with pytest.raises(DataError, match="needs a reference"):
        StructureDice()(prediction)
    with pytest.raises(DataError, match="no case was scored"):
        StructureDice().aggregate()


@pytest.mark.realdata
def test_real_patients(real_data):
    names = ["Brainstem", "LeftParotid", "PTV63"]
    metric, expected = StructureDice(), []
    for folder in sorted((real_data / "provided-data" / "validation-pats").glob("pt_*"))[:5]:
        reference = np.zeros((3, 128**3), np.float32)
        for channel, name in zip(reference, names, strict=True):
            path = folder / f"{name}.csv"
            if path.is_file():
                channel[pd.read_csv(path, index_col=0).index] = 1
            elif not name.startswith("PTV"):
                channel[:] = np.nan
        reference = reference.reshape(3, 128, 128, 128)
        prediction = np.roll(np.nan_to_num(reference), 2, 1)
        metric([torch.tensor(prediction)], [torch.tensor(reference)])
        expected.append([expected_dice(p, r) for p, r in zip(prediction, reference, strict=True)])
    np.testing.assert_allclose(metric.get_buffer(), expected, rtol=0, atol=1e-9)
    assert metric.aggregate().item() == pytest.approx(np.nanmean(expected, 1).mean())
