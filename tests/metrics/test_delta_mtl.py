# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from ctan_networks.errors import DataError
from ctan_networks.metrics import delta_mtl

HIGHER = {"dice": True, "auc": True, "dose_score": False, "dvh_score": False}


def test_three_tasks_of_one_metric():
    # The scale of NYUv2: mean IoU, absolute depth error, mean angle of surface normals.
    baseline = {"segmentation": {"iou": 43.37}, "depth": {"error": 52.24}, "normals": {"angle": 22.40}}
    multitask = {"segmentation": {"iou": 44.64}, "depth": {"error": 43.32}, "normals": {"angle": 24.48}}
    result = delta_mtl(baseline, multitask, {"iou": True, "error": False, "angle": False})
    # 1.27 / 43.37, 8.92 / 52.24, -2.08 / 22.40
    assert result.tasks == pytest.approx({"segmentation": 2.9283, "depth": 17.0750, "normals": -9.2857}, abs=1e-4)
    assert result.overall == pytest.approx(3.5725, abs=1e-4)


def test_first_within_a_task_then_over_tasks():
    baseline = {"segmentation": {"dice": 0.8}, "dose": {"dose_score": 4.0, "dvh_score": 2.0}}
    multitask = {"dose": {"dvh_score": 2.2, "dose_score": 3.0}, "segmentation": {"dice": 0.84}}
    result = delta_mtl(baseline, multitask, HIGHER)
    # Dice + 5 %; dose score 25 % and DVH score -10 % better, 7.5 % in the mean
    assert result.tasks == pytest.approx({"segmentation": 5.0, "dose": 7.5})
    assert result.overall == pytest.approx(6.25)


def test_no_change_is_zero():
    scores = {"a": {"dice": 0.7, "dose_score": 3.0}, "b": {"auc": 0.9}}
    assert delta_mtl(scores, scores, HIGHER) == (0, {"a": 0, "b": 0})


def test_direction_is_the_sign():
    baseline, multitask = {"a": {"m": 2.0}}, {"a": {"m": 2.5}}
    up = delta_mtl(baseline, multitask, {"m": True}).overall
    assert up == pytest.approx(25)
    assert delta_mtl(baseline, multitask, {"m": False}).overall == pytest.approx(-up)
    # a gain here and an equal loss there cancel
    both = {"a": {"m": 2.0, "n": 2.0}}, {"a": {"m": 2.5, "n": 2.5}}
    assert delta_mtl(*both, {"m": True, "n": False}).overall == pytest.approx(0)


@pytest.mark.parametrize(
    ("baseline", "multitask", "message"),
    [
        ({}, {}, "same"),
        ({"a": {"dice": 1.0}}, {"b": {"dice": 1.0}}, r"tasks \['a'\]"),
        ({"a": {"dice": 1.0}}, {"a": {"auc": 1.0}}, "task 'a' has metrics"),
        ({"a": {"dice": 1.0, "auc": 1.0}}, {"a": {"auc": 1.0}}, "task 'a' has metrics"),
        ({"a": {}}, {"a": {}}, "task 'a' has metrics"),
        ({"a": {"dice": 0.0}}, {"a": {"dice": 1.0}}, "a dice is 0.0"),
        ({"a": {"dice": -1.0}}, {"a": {"dice": 1.0}}, "a dice is -1.0"),
        ({"a": {"dice": 1.0}}, {"a": {"dice": float("nan")}}, "a dice is 1.0 and nan"),
        ({"a": {"hd95": 1.0}}, {"a": {"hd95": 1.0}}, "which way a hd95 improves"),
    ],
)
def test_errors_say_what_is_wrong(baseline, multitask, message):
    with pytest.raises(DataError, match=message):
        delta_mtl(baseline, multitask, HIGHER)
