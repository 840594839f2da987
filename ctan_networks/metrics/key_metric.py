# SPDX-License-Identifier: Apache-2.0
"""One number that says which checkpoint is best, by the same rule for every architecture and set of tasks."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Any

from ignite.metrics import Metric, MetricsLambda

from ctan_networks.errors import ConfigError

__all__ = ["KeyMetric", "of_tasks", "skill"]

logger = logging.getLogger(__name__)


def skill(value: float, trivial: float, perfect: float) -> float:
    """``(value - trivial) / (perfect - trivial)``: 0 for the trivial predictor, 1 for a perfect one, negative if worse.

    ==================  ==========================================  =======
    metric              trivial                                     perfect
    ==================  ==========================================  =======
    Dice                0                                           1
    dose score          dose score of the mean training dose, Gy    0
    balanced accuracy   1 / classes                                 1
    ROC AUC             0.5                                         1
    ==================  ==========================================  =======

    Raises:
        ConfigError: when trivial and perfect are not two different finite numbers.
    """
    if not (math.isfinite(trivial) and math.isfinite(perfect)) or trivial == perfect:
        raise ConfigError(f"skill: trivial {trivial} and perfect {perfect} must be two different finite numbers.")
    return (value - trivial) / (perfect - trivial)


class KeyMetric(MetricsLambda):
    """Mean over the active tasks of the :py:func:`skill` of one metric each; higher is better.

    For ``key_val_metric={"score": KeyMetric(...)}`` of an evaluator. The metrics may, and need not, be attached to the
    same evaluator besides. A task whose metric is NaN (nothing was labelled) is left out of the mean. When all are, the
    value is minus infinity and a warning says so: nothing is ever greater than NaN, so that NaN in the first validation
    would stay MONAI's best value for good.

    Args:
        metrics: task to the metric, of one number, that stands for it; further tasks are ignored.
        trivial: task to the metric's value for the trivial predictor.
        perfect: task to the metric's best value.
        tasks: names of the active tasks.

    Raises:
        ConfigError: when an active task lacks an entry, none is active, or trivial and perfect do not differ.
    """

    def __init__(
        self,
        metrics: Mapping[str, Metric],
        trivial: Mapping[str, float],
        perfect: Mapping[str, float],
        tasks: Iterable[str],
    ) -> None:
        self.tasks = tuple(tasks)
        if not self.tasks:
            raise ConfigError("KeyMetric: no task is active.")
        for argument, entries in {"metrics": metrics, "trivial": trivial, "perfect": perfect}.items():
            missing = [task for task in self.tasks if task not in entries]
            if missing:
                raise ConfigError(f"KeyMetric: {argument} has no entry for {', '.join(missing)}.")
        for task in self.tasks:
            skill(0.0, trivial[task], perfect[task])
        self.trivial = dict(trivial)
        self.perfect = dict(perfect)
        super().__init__(self._mean_skill, *(metrics[task] for task in self.tasks))

    def compute(self) -> float:
        """The mean skill of the epoch."""
        return self.function(*(_value(metric) for metric in self.args))

    def _mean_skill(self, *values: float) -> float:
        skills = [
            skill(value, self.trivial[task], self.perfect[task])
            for task, value in zip(self.tasks, values, strict=True)
            if not math.isnan(value)
        ]
        if not skills:
            logger.warning("key metric: no case had a label for %s; it counts as the worst.", ", ".join(self.tasks))
            return -math.inf
        return fmean(skills)


def of_tasks(metrics: Mapping[str, Mapping[str, Metric]], tasks: Iterable[str]) -> dict[str, Metric]:
    """The metrics of the active tasks, for ``additional_metrics`` of an evaluator.

    Args:
        metrics: task to name to metric.
        tasks: names of the active tasks; one without metrics adds none.

    Raises:
        ConfigError: when two tasks give a metric the same name.
    """
    chosen: dict[str, Metric] = {}
    for task in tasks:
        for name, metric in metrics.get(task, {}).items():
            if name in chosen:
                raise ConfigError(f"metrics: the name {name!r} stands twice, once under {task}; rename one.")
            chosen[name] = metric
    return chosen


def _value(metric: Any) -> float:
    # An IgniteMetricHandler stores the values of each case under its own name, which it only has once it is attached by
    # itself; then it stores them in its own turn.
    save_details = getattr(metric, "save_details", False)
    if save_details:
        metric.save_details = False
    try:
        return float(metric.compute())
    finally:
        if save_details:
            metric.save_details = True
