# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.handlers import IgniteMetricHandler, from_engine

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.metrics.dose_score import DoseScore, compute_dose_score


def make_case(seed: int, shape=(6, 5, 4), dtype=torch.float64):
    rng = np.random.default_rng(seed)
    mask = rng.random((1, *shape)) < 0.6
    reference = 70 * rng.random((1, *shape)) * mask
    prediction = reference + rng.normal(0, 3, (1, *shape))
    return tuple(torch.tensor(x, dtype=dtype) for x in (prediction, reference, mask))


def expected_score(prediction, reference, mask) -> float:
    p, r, m = (np.asarray(x, dtype=np.float64) for x in (prediction, reference, mask))
    return np.abs(r - np.where(m > 0, p, 0)).sum() / (m > 0).sum()


def test_worked_by_hand():
    reference = torch.tensor([[[10.0, 20.0, 0.0, 4.0]]])
    prediction = torch.tensor([[[12.0, 15.0, 100.0, 1.0]]])
    mask = torch.tensor([[[1, 1, 0, 0]]])
    # |10 - 12| + |20 - 15| + 0 + |4 - 0| over 2 voxels: the reference outside the mask counts, the prediction does not
    assert compute_dose_score(prediction, reference, mask).tolist() == [[5.5]]
    assert compute_dose_score(prediction, reference).tolist() == [[(2 + 5 + 100 + 3) / 4]]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-5)])
def test_agrees_with_the_definition(dtype, tolerance):
    cases = [make_case(seed, dtype=dtype) for seed in range(3)]
    score = compute_dose_score(*(torch.stack(x) for x in zip(*cases, strict=True)))
    assert score.shape == (3, 1)
    assert score.dtype == torch.float64
    expected = [expected_score(*case) for case in cases]
    np.testing.assert_allclose(score[:, 0], expected, rtol=0, atol=tolerance)
    metric = DoseScore()
    predictions, references, masks = (list(x) for x in zip(*cases, strict=True))
    metric(predictions[:2], references[:2], mask=masks[:2])
    metric(predictions[2][None], references[2][None], mask=masks[2][None])
    assert metric.aggregate().item() == pytest.approx(np.mean(expected), abs=tolerance)
    assert metric.get_buffer().shape == (3, 1)


def test_sums_do_not_lose_voxels():
    # In float32 a running sum of 1 stops at 2^24.
    shape = (1, 1, 2**24 + 2**10)
    assert compute_dose_score(torch.ones(shape), torch.zeros(shape)).item() == 1.0


def test_unknown_reference_is_left_out():
    known, unknown = make_case(0), make_case(1)
    unknown[1][:] = torch.nan
    metric = DoseScore()
    rows = metric(*([a, b] for a, b in list(zip(known, unknown, strict=True))[:2]), mask=[known[2], unknown[2]])
    assert rows.isnan().flatten().tolist() == [False, True]
    assert metric.aggregate().item() == pytest.approx(expected_score(*known))
    metric.reset()
    metric([unknown[0]], [unknown[1]], mask=[unknown[2]])
    assert metric.aggregate().isnan()


def test_voxels_of_unknown_reference_count_for_nothing():
    """As if the volume ended there."""
    whole = make_case(0)
    part = [volume[..., :-1] for volume in whole]
    whole[1][..., -1:] = torch.nan
    assert bool((whole[2][..., -1] > 0).any())
    score = compute_dose_score(*(volume[None] for volume in whole)).item()
    assert score == pytest.approx(expected_score(*part))
    whole[0][..., 0] = torch.nan
    whole[2][..., 0] = 1
    assert compute_dose_score(*(volume[None] for volume in whole)).item() == np.inf


def test_nan_prediction_is_never_good():
    prediction, reference, mask = (x[None] for x in make_case(0))
    outside, inside = (mask == 0).nonzero()[0], (mask > 0).nonzero()[0]
    prediction[tuple(outside)] = torch.nan
    assert compute_dose_score(prediction, reference, mask).isfinite().all()
    prediction[tuple(inside)] = torch.nan
    assert compute_dose_score(prediction, reference, mask).item() == np.inf


def test_works_in_an_engine_with_cases_of_different_size():
    cases = [make_case(0), make_case(1, (3, 7, 5)), make_case(2)]
    items = [
        {"case": f"pt_{i}", "predicted_dose": MetaTensor(p), "reference_dose": MetaTensor(r), "reference_mask": m}
        for i, (p, r, m) in enumerate(cases)
    ]
    engine = Engine(lambda engine, batch: batch)
    handler = IgniteMetricHandler(
        metric_fn=DoseScore(), output_transform=lambda output: (from_engine("predicted_dose")(output), output)
    )
    handler.attach(engine, "dose_score")
    expected = [expected_score(*case) for case in cases]
    for _ in range(2):
        state = engine.run([items[:2], items[2:]])
        assert state.metrics["dose_score"] == pytest.approx(np.mean(expected), abs=1e-6)
        np.testing.assert_allclose(state.metric_details["dose_score"][:, 0], expected, atol=1e-6)


def test_keys_are_chosen():
    prediction, reference, mask = make_case(0)
    item = {"dose": reference, "inside": mask}
    metric = DoseScore(dose_key="dose", mask_key="inside")
    assert metric([prediction], [item]).item() == pytest.approx(expected_score(prediction, reference, mask))
    metric = DoseScore(dose_key="dose", mask_key=None)
    everywhere = np.ones(mask.shape)
    assert metric([prediction], [item]).item() == pytest.approx(expected_score(prediction, reference, everywhere))


def test_errors_say_what_is_wrong():
    prediction, reference, mask = make_case(0)
    with pytest.raises(DataError, match="pt_7 has no reference_mask"):
        DoseScore()([prediction], [{"case": "pt_7", "reference_dose": reference}])
    with pytest.raises(DataError, match="2 predictions"):
        DoseScore()([prediction, prediction], [reference])
    with pytest.raises(DataError, match="unexpected argument masks"):
        DoseScore()([prediction], [reference], masks=[mask])
    with pytest.raises(DataError, match="one shape"):
        compute_dose_score(prediction[None], reference[None, :, 1:])
    with pytest.raises(DataError, match="empty mask"):
        compute_dose_score(prediction[None], reference[None], 0 * mask[None])
    with pytest.raises(DataError, match="no case was scored"):
        DoseScore().aggregate()


@pytest.mark.realdata
def test_real_patients(real_data):
    folders = sorted((real_data / "provided-data" / "validation-pats").glob("pt_*"))[:5]
    rng = np.random.default_rng(0)
    metric, expected = DoseScore(), []
    for folder in folders:
        dose = np.zeros(128**3)
        table = pd.read_csv(folder / "dose.csv", index_col=0)
        dose[table.index] = table["data"]
        mask = np.zeros(128**3)
        mask[pd.read_csv(folder / "possible_dose_mask.csv", index_col=0).index] = 1
        prediction = np.roll(dose, 128) + rng.normal(0, 1, dose.shape)
        expected.append(expected_score(prediction, dose, mask))
        for dtype, tolerance in ((torch.float64, 1e-6), (torch.float32, 1e-5)):
            volumes = [torch.tensor(x, dtype=dtype).reshape(1, 1, 128, 128, 128) for x in (prediction, dose, mask)]
            assert compute_dose_score(*volumes).item() == pytest.approx(expected[-1], abs=tolerance)
        metric(*volumes[:2], mask=volumes[2])
    assert metric.aggregate().item() == pytest.approx(np.mean(expected), abs=1e-5)
