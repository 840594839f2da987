# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch
from monai.metrics import MAEMetric

from ctan_networks.errors import DataError
from ctan_networks.metrics.map_error import MapError, compute_map_error


def test_agrees_with_monai_where_all_is_known():
    y, p = torch.randn(3, 2, 4, 5), torch.randn(3, 2, 4, 5)
    metric, monai = MapError(), MAEMetric()
    metric(p, y)
    monai(p, y)
    assert float(metric.aggregate()) == pytest.approx(float(monai.aggregate()), rel=1e-6)


def test_what_is_unknown_does_not_count():
    y, p = torch.randn(2, 1, 4, 5), torch.randn(2, 1, 4, 5)
    y[0, 0, 0] = torch.nan
    assert float(compute_map_error(p, y)[0]) == pytest.approx(float((p - y)[0, 0, 1:].abs().mean()), rel=1e-6)
    y[1] = torch.nan
    metric = MapError()
    metric([p[0], p[1]], [y[0], y[1]])
    assert float(metric.aggregate()) == pytest.approx(float((p - y)[0, 0, 1:].abs().mean()), rel=1e-6)
    metric.reset()
    metric(p[1:], y[1:])
    # Not 0, the best there is.
    assert math.isnan(float(metric.aggregate()))


def test_a_broken_prediction_is_infinitely_wrong_and_shapes_must_agree():
    y = torch.zeros(1, 1, 4, 5)
    broken = y.clone()
    broken[0, 0, 0, 0] = torch.nan
    assert math.isinf(float(compute_map_error(broken, y)))
    with pytest.raises(DataError, match="one shape"):
        compute_map_error(y, torch.zeros(1, 2, 4, 5))
    with pytest.raises(DataError, match="no case was scored"):
        MapError().aggregate()
