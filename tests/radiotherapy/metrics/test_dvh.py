# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor, decollate_batch
from monai.data.utils import list_data_collate
from monai.handlers import IgniteMetricHandler, from_engine

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.radiotherapy.metrics.dvh import (
    DVHScore,
    compute_dvh_metrics,
    dose_at_volume,
    dvh_columns,
    dvh_curve,
    volume_at_dose,
)

NAMES = ["SpinalCord", "PTV70", "Larynx", "PTV56"]
ORGANS = ["Brainstem", "SpinalCord", "RightParotid", "LeftParotid", "Esophagus", "Larynx", "Mandible"]
STRUCTURES = [*ORGANS, "PTV56", "PTV63", "PTV70"]
SPACING = (4.0, 3.5, 2.5)
AFFINE = np.array([[0, -3.5, 0, 9], [-4.0, 0, 0, 8], [0, 0, -2.5, 7], [0, 0, 0, 1]])


def expected_metrics(dose, structures, names, voxel_volume):
    """The definition, one full pass over the volume for each number."""
    row = []
    dose = np.asarray(dose, dtype=np.float64)
    for name, structure in zip(names, np.asarray(structures), strict=True):
        target = name.startswith("PTV")
        roi = dose[structure == 1]
        if np.isnan(structure).any() or roi.size == 0:
            row += [np.nan] * (3 if target else 2)
        elif target:
            row += [np.percentile(roi, 1), np.percentile(roi, 5), np.percentile(roi, 99)]
        else:
            voxels = np.maximum(1, np.round(100 / voxel_volume))
            row += [np.percentile(roi, max(0, 100 - voxels / roi.size * 100)), roi.mean()]
    return np.array(row)


def make_case(seed, shape=(9, 8, 7), names=NAMES, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    reference = 70 * rng.random((1, *shape))
    prediction = reference + rng.normal(0, 3, reference.shape)
    mask = (rng.random(reference.shape) < 0.8).astype(float)
    structures = (rng.random((len(names), *shape)) < 0.2).astype(float)
    return tuple(torch.tensor(x, dtype=dtype) for x in (prediction, reference, structures, mask))


def expected_errors(case, names=NAMES, voxel_volume=35.0):
    prediction, reference, structures, mask = case
    prediction = np.where(mask[0] > 0, prediction[0], 0)
    pairs = (expected_metrics(d, structures, names, voxel_volume) for d in (reference[0], prediction))
    return np.abs(next(pairs) - next(pairs))


def test_columns():
    assert dvh_columns(["Larynx", "PTV70"]) == [
        ("Larynx", "D_0.1_cc"),
        ("Larynx", "mean"),
        ("PTV70", "D_99"),
        ("PTV70", "D_95"),
        ("PTV70", "D_1"),
    ]
    assert len(dvh_columns(STRUCTURES)) == 23


def test_worked_by_hand():
    dose = torch.arange(101.0).reshape(1, 101, 1, 1)
    everything = torch.ones(2, 101, 1, 1)
    # 50 mm^3: two voxels in 0.1 cc, percentile 100 - 200 / 101 of 0 ... 100 Gy
    metrics = compute_dvh_metrics(dose, everything, ["Larynx", "PTV70"], 50.0)
    np.testing.assert_allclose(metrics, [[100 - 200 / 101, 50, 1, 5, 99]], rtol=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-5)])
@pytest.mark.parametrize("voxel_volume", [3.0, 37.5, 250.0])
def test_agrees_with_the_definition(dtype, tolerance, voxel_volume):
    prediction, reference, structures, _ = make_case(0, dtype=dtype)
    metrics = compute_dvh_metrics(torch.cat([reference, prediction]), structures, NAMES, voxel_volume)
    assert metrics.dtype == torch.float64
    expected = [expected_metrics(d[0], structures, NAMES, voxel_volume) for d in (reference, prediction)]
    np.testing.assert_allclose(metrics, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.float16])
def test_any_type_of_mask(kind):
    _, reference, structures, _ = make_case(0)
    metrics = compute_dvh_metrics(reference, structures.to(kind), NAMES, 30.0)
    np.testing.assert_allclose(metrics[0], expected_metrics(reference[0], structures, NAMES, 30.0), atol=1e-9)


def test_half_precision_dose():
    _, reference, structures, _ = make_case(0)
    rounded = reference.bfloat16()
    metrics = compute_dvh_metrics(rounded, structures, NAMES, 30.0)
    np.testing.assert_allclose(metrics[0], expected_metrics(rounded[0].double(), structures, NAMES, 30.0), atol=1e-5)


@pytest.mark.parametrize(("voxel_volume", "voxels"), [(40.0, 2), (100 / 3.5, 4), (1000.0, 1), (200.0, 1)])
def test_voxels_in_a_tenth_of_a_cc_round_half_to_even(voxel_volume, voxels):
    # 100 / 40 = 2.5 gives 2, 3.5 gives 4; 0.1 and 0.5 give 0 and count as 1
    dose = torch.arange(1001.0).reshape(1, -1, 1, 1)
    maximum = compute_dvh_metrics(dose, torch.ones_like(dose), ["Larynx"], voxel_volume)[0, 0].item()
    assert maximum == pytest.approx(1000 * (1 - voxels / 1001), rel=1e-9)


def test_structure_below_a_tenth_of_a_cc_gives_its_minimum():
    dose = torch.tensor([3.0, 1.0, 2.0, 9.0]).reshape(1, -1, 1, 1)
    three = torch.tensor([1.0, 1, 1, 0]).reshape(1, -1, 1, 1)
    for voxel_volume in (1.0, 100 / 3):  # v of 100 and 3
        assert compute_dvh_metrics(dose, three, ["Larynx"], voxel_volume).tolist() == [[1.0, 2.0]]
    one = torch.tensor([0.0, 0, 0, 1]).reshape(1, -1, 1, 1)
    assert compute_dvh_metrics(dose, one, ["PTV70"], 50.0).tolist() == [[9.0, 9.0, 9.0]]


def test_absent_and_unknown_structures():
    _, reference, structures, _ = make_case(0)
    structures[0] = torch.nan
    structures[1] = 0
    structures[2, 0, 0, 0] = torch.nan
    metrics = compute_dvh_metrics(reference, structures, NAMES, 30.0)[0]
    assert metrics.isnan().tolist() == [True] * 7 + [False] * 3
    structures[3, 0, 0, 0] = 1
    reference[0, 0, 0, 0] = torch.nan
    assert compute_dvh_metrics(reference, structures, NAMES, 30.0).isnan().all()


def test_score_is_one_flat_mean():
    cases = [make_case(seed) for seed in range(3)]
    cases[0][2][1:] = 0  # two numbers of this patient are left, ten of each of the others
    metric = DVHScore(NAMES)
    for case in cases[:2]:
        prediction, reference, structures, mask = (x[None] for x in case)
        metric(prediction, reference, structures=structures, mask=mask, spacing=SPACING)
    prediction, reference, structures, mask = ([x] for x in cases[2])
    metric(prediction, reference, structures=structures, mask=mask, spacing=[SPACING])
    expected = np.array([expected_errors(case) for case in cases])
    assert np.isnan(expected).sum() == 8
    np.testing.assert_allclose(metric.get_buffer(), expected, rtol=0, atol=1e-6)
    assert metric.aggregate().item() == pytest.approx(np.nanmean(expected), abs=1e-9)
    by_metric = dict(zip(metric.columns, metric.aggregate("mean_batch").tolist(), strict=True))
    assert by_metric["PTV70", "D_95"] == pytest.approx(np.nanmean(expected[:, 3]), abs=1e-9)
    with pytest.raises(ConfigError, match="sum"):
        metric.aggregate("sum")


def test_works_in_an_engine_and_takes_the_voxel_volume_from_the_affine():
    cases = [make_case(0), make_case(1, (5, 6, 9)), make_case(2)]
    affines = [AFFINE, AFFINE * [[2], [2], [2], [1]], AFFINE]
    items = [
        {
            "predicted_dose": MetaTensor(p, affine=torch.tensor(affine)),
            "reference_dose": r,
            "reference_segmentation": s,
            "reference_mask": m,
        }
        for (p, r, s, m), affine in zip(cases, affines, strict=True)
    ]
    engine = Engine(lambda engine, batch: batch)
    handler = IgniteMetricHandler(
        metric_fn=DVHScore(NAMES), output_transform=lambda output: (from_engine("predicted_dose")(output), output)
    )
    handler.attach(engine, "dvh_score")
    volumes = [35.0, 8 * 35.0, 35.0]
    expected = np.array([expected_errors(c, voxel_volume=v) for c, v in zip(cases, volumes, strict=True)])
    for _ in range(2):
        state = engine.run([items[:2], items[2:]])
        assert state.metrics["dvh_score"] == pytest.approx(expected.mean(), abs=1e-6)
        np.testing.assert_allclose(state.metric_details["dvh_score"], expected, atol=1e-6)


def test_affine_of_a_batch():
    cases = [make_case(seed) for seed in range(2)]
    scales = np.array([1.0, 3.0])
    items = [{"dose": MetaTensor(c[0], affine=torch.tensor(AFFINE * s))} for c, s in zip(cases, scales, strict=True)]
    batch = list_data_collate(items)
    rest = {"y": torch.stack([c[1] for c in cases]), "structures": torch.stack([c[2] for c in cases])}
    rest["mask"] = torch.stack([c[3] for c in cases])
    expected = [expected_errors(c, voxel_volume=35 * s**3) for c, s in zip(cases, scales, strict=True)]
    np.testing.assert_allclose(DVHScore(NAMES)(batch["dose"], **rest), expected, atol=1e-6)
    decollated = [item["dose"] for item in decollate_batch(batch)]
    np.testing.assert_allclose(DVHScore(NAMES)(decollated, **rest), expected, atol=1e-6)


def test_unknown_reference_and_nan_prediction():
    prediction, reference, structures, mask = make_case(0)
    metric = DVHScore(NAMES)
    row = metric(
        [prediction], [torch.full_like(reference, torch.nan)], structures=[structures], mask=[mask], spacing=SPACING
    )
    assert row.isnan().all()
    assert metric.aggregate().isnan()
    structures[0] = torch.nan
    row = metric(
        [torch.full_like(prediction, torch.nan)], [reference], structures=[structures], mask=[mask], spacing=SPACING
    )[0]
    assert row[:2].isnan().all()
    assert (row[2:] == torch.inf).all()


def test_errors_say_what_is_wrong():
    prediction, reference, structures, mask = make_case(0)
    metric = DVHScore(NAMES)
    with pytest.raises(DataError, match="volume of a voxel is not known"):
        metric([prediction], [reference], structures=[structures], mask=[mask])
    with pytest.raises(DataError, match="needs the reference structures"):
        metric([prediction], [reference], spacing=SPACING)
    with pytest.raises(DataError, match="0 has no reference_segmentation and no reference_mask"):
        metric([prediction], [{"reference_dose": reference}], spacing=SPACING)
    with pytest.raises(DataError, match=r"\[1, spatial"):
        metric([prediction[:, 1:]], [reference], structures=[structures], spacing=SPACING)
    with pytest.raises(DataError, match="of the 3 names"):
        compute_dvh_metrics(reference, structures, NAMES[:3], 30.0)
    with pytest.raises(DataError, match="voxel volume"):
        compute_dvh_metrics(reference, structures, NAMES, 0.0)
    with pytest.raises(DataError, match="no case was scored"):
        metric.aggregate()


@pytest.mark.parametrize("as_array", [np.asarray, torch.as_tensor])
def test_points_on_the_curve(as_array):
    doses = as_array(np.array([40.0, 10, 30, 20, 50]))
    assert volume_at_dose(doses, 30) == pytest.approx(60)
    assert volume_at_dose(doses, 50.1) == 0
    assert [dose_at_volume(doses, x) for x in (0, 25, 50, 90, 100)] == pytest.approx([50, 40, 30, 14, 10])
    np.testing.assert_allclose(dvh_curve(doses, [0, 10, 10.1, 50, 60]), [1, 1, 0.8, 0.2, 0])


def test_curve_agrees_with_counting():
    doses = np.random.default_rng(0).gamma(2, 10, (11, 9)).astype(np.float32)
    edges = np.linspace(0, 80, 161)
    np.testing.assert_allclose(dvh_curve(doses, edges), [(doses >= e).mean() for e in edges], atol=1e-12)
    assert dose_at_volume(doses, 95) == pytest.approx(np.percentile(doses, 5), abs=1e-5)


def test_points_of_nothing_are_nan():
    assert np.isnan(
        [volume_at_dose([], 5), dose_at_volume([], 5), *dvh_curve([], [1, 2]), *dvh_curve([np.nan], [1])]
    ).all()


def read_patient(folder):
    def volume(name, ones=True):
        flat = np.zeros(128**3)
        table = pd.read_csv(folder / f"{name}.csv", index_col=0)
        flat[table.index] = 1 if ones else table["data"]
        return flat.reshape(128, 128, 128)

    structures = [
        volume(name)
        if (folder / f"{name}.csv").is_file()
        else np.full((128, 128, 128), 0 if name.startswith("PTV") else np.nan)
        for name in STRUCTURES
    ]
    spacing = np.loadtxt(folder / "voxel_dimensions.csv")
    return volume("dose", ones=False)[None], np.stack(structures), volume("possible_dose_mask")[None], spacing


@pytest.mark.realdata
def test_real_patients(real_data):
    folders = sorted((real_data / "provided-data" / "validation-pats").glob("pt_*"))[:5]
    rng = np.random.default_rng(0)
    expected, metrics = [], {torch.float64: DVHScore(STRUCTURES), torch.float32: DVHScore(STRUCTURES)}
    for folder in folders:
        dose, structures, mask, spacing = read_patient(folder)
        prediction = np.roll(dose, 2, 1) + rng.normal(0, 1, dose.shape)
        case = (prediction, dose, structures, mask)
        expected.append(expected_errors(case, STRUCTURES, spacing.prod()))
        for dtype, metric in metrics.items():
            p, r, s, m = (torch.tensor(x, dtype=dtype) for x in case)
            metric([p], [r], structures=[s], mask=[m], spacing=spacing.tolist())
    for metric, tolerance in zip(metrics.values(), (1e-6, 1e-5), strict=True):
        np.testing.assert_allclose(metric.get_buffer(), expected, rtol=0, atol=tolerance)
        assert metric.aggregate().item() == pytest.approx(np.nanmean(expected), abs=tolerance)
    assert np.isnan(expected).any(), "none of these patients lacks a structure"
