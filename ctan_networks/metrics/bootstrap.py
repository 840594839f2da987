# SPDX-License-Identifier: Apache-2.0
"""Intervals of scores by a bootstrap over patients or lesions, never over their images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Interval", "bootstrap_interval"]

# Weights of one chunk of resamples: 16 MB.
CHUNK = 2_000_000


class Interval(NamedTuple):
    """An interval, NaN where none can be given.

    Attributes:
        low: lower bound.
        high: upper bound.
        undefined: share of the resamples in which the statistic was not defined (such as a ROC AUC without a positive);
            they are left out.
    """

    low: float
    high: float
    undefined: float = 0.0


def bootstrap_interval(
    statistic: Callable[[np.ndarray], np.ndarray],
    groups: Sequence[Any] | np.ndarray,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap in which whole groups are drawn with replacement.

    Args:
        statistic: from weights ``[R, N]`` (float64: how often each case is in each of R resamples) to the R values,
            NaN where not defined, such as ``lambda weights: compute_roc_auc(probs, labels, weights)``.
        groups: of each of the N cases the group (patient, lesion) that it belongs to; all cases of a group are drawn
            together.
        resamples: number of resamples.
        seed: of the draws; the same seed draws the same resamples.
        level: share of the resamples that the interval holds.

    Returns:
        the interval; NaN with fewer than two groups, or where the statistic is undefined in half of the resamples.
    """
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        return Interval(math.nan, math.nan)
    rng = np.random.default_rng(seed)
    rows = max(1, CHUNK // member.size)
    values = []
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        drawn = rng.integers(0, len(names), (count, len(names))) + len(names) * np.arange(count)[:, None]
        often = np.bincount(drawn.ravel(), minlength=count * len(names)).reshape(count, len(names))
        values.append(statistic(often.astype(float)[:, member]))
    found = np.concatenate(values)
    defined = found[~np.isnan(found)]
    undefined = 1 - defined.size / resamples
    if undefined >= 0.5:
        return Interval(math.nan, math.nan, undefined)
    low, high = np.percentile(defined, [50 * (1 - level), 50 * (1 + level)])
    return Interval(float(low), float(high), undefined)
