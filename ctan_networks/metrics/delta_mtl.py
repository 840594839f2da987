# SPDX-License-Identifier: Apache-2.0
"""Delta_MTL: by how many per cent multi-task learning improves on one network a task."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean
from typing import NamedTuple

from ctan_networks.errors import DataError

__all__ = ["DeltaMTL", "delta_mtl"]

Scores = Mapping[str, Mapping[str, float]]


class DeltaMTL(NamedTuple):
    """Relative improvement in per cent, positive when multi-task learning is better.

    Attributes:
        overall: mean over tasks.
        tasks: of each task, mean over its metrics.
    """

    overall: float
    tasks: dict[str, float]


def delta_mtl(baseline: Scores, multitask: Scores, higher_is_better: Mapping[str, bool]) -> DeltaMTL:
    """Average per-task improvement of a multi-task network over a baseline.

    .. math:: 100 \\% / T \\sum_t 1 / M_t \\sum_m (-1)^{l_m} (B_{tm} - N_{tm}) / B_{tm}

    with l = 1 where higher is better, else 0. Source: Maninis et al. 2019, arXiv 1904.08918, equation 4; LibMTL.

    Args:
        baseline: task to metric to value B, such as of one network a task; greater than 0.
        multitask: the same for the network to be compared, N.
        higher_is_better: metric to whether its value grows as results improve.

    Raises:
        DataError: when the two do not hold the same tasks and metrics, the direction of a metric is not given, a value
            is not finite, or one of the baseline is not greater than 0.
    """
    if not baseline or set(baseline) != set(multitask):
        raise DataError(
            f"Delta_MTL: baseline has tasks {sorted(baseline)}, multi-task {sorted(multitask)}; give both the same."
        )
    tasks = {}
    for task, metrics in baseline.items():
        if not metrics or set(metrics) != set(multitask[task]):
            raise DataError(
                f"Delta_MTL: task {task!r} has metrics {sorted(metrics)} in the baseline and {sorted(multitask[task])} "
                "in the multi-task result; give both the same."
            )
        tasks[task] = fmean(
            _improvement(f"{task} {name}", value, multitask[task][name], higher_is_better.get(name))
            for name, value in metrics.items()
        )
    return DeltaMTL(fmean(tasks.values()), tasks)


def _improvement(what: str, baseline: float, value: float, higher_is_better: bool | None) -> float:
    if higher_is_better is None:
        raise DataError(f"Delta_MTL: say in higher_is_better which way {what} improves.")
    if not (math.isfinite(baseline) and math.isfinite(value)):
        raise DataError(f"Delta_MTL: {what} is {baseline} and {value}; leave out what was not measured, in both.")
    if baseline <= 0:
        raise DataError(f"Delta_MTL: the baseline's {what} is {baseline}; no change is relative to that. Leave it out.")
    change = 100 * (baseline - value) / baseline
    return -change if higher_is_better else change
