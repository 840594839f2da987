# SPDX-License-Identifier: Apache-2.0
"""Goals of a treatment plan, as a protocol words them in JSON, and whether a dose meets them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.radiotherapy.metrics.dvh import dose_at_volume, doses_in_structures, volume_at_dose
from ctan_networks.radiotherapy.metrics.plan_metrics import dose_at_cc

__all__ = ["Goal", "GoalResult", "check_goals", "parse_goals"]

NUMBER = r"(\d+(?:\.\d+)?)"
# mean; D_95 (per cent of the volume); D_2_cc; V_65 (Gy); V_95% (per cent of the prescription)
METRIC = re.compile(rf"(?:(mean)|D_{NUMBER}(_cc)?|V_{NUMBER}(%)?)")
LIMIT = re.compile(r"\s*([-+]?\d+(?:\.\d+)?)\s*(%|Gy|cc)\s*")
KEYS = {"structure", "metric", "unit", "min", "max", "source"}
# What a metric is measured in: doses in Gy or per cent of the prescription, volumes in per cent of the structure or cc.
UNITS = {"dose": ("Gy", "%"), "volume": ("%", "cc")}
# In the unit of the goal. Doses are of single precision: 74.1 Gy there is less than 95 % of 78 Gy.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Goal:
    """One goal, checked.

    Attributes:
        structure: name.
        metric: ``mean``, ``D_95``, ``D_2_cc``, ``V_65``, ``V_95%``; see :py:func:`parse_goals`.
        unit: of value and limits: ``Gy``, ``%`` or ``cc``.
        minimum: least value that meets the goal, or None.
        maximum: greatest value that meets the goal, or None.
        source: where the goal comes from, if it was said.
    """

    structure: str
    metric: str
    unit: str
    minimum: float | None
    maximum: float | None
    source: str = ""

    @property
    def label(self) -> str:
        """Metric and limits, such as ``V_65 <= 25 %``."""
        if self.minimum is None or self.maximum is None:
            limit = f"<= {self.maximum:g}" if self.minimum is None else f">= {self.minimum:g}"
            return f"{self.metric} {limit} {self.unit}"
        return f"{self.metric} {self.minimum:g} to {self.maximum:g} {self.unit}"

    @property
    def is_volume(self) -> bool:
        """Whether the value is a volume, and not a dose."""
        return self.metric.startswith("V")

    @property
    def needs_prescription(self) -> bool:
        """Whether the value depends on the prescribed dose."""
        return self.metric.endswith("%") or (not self.is_volume and self.unit == "%")

    def value(self, doses: np.ndarray, voxel_volume: float, prescription: float | None) -> float:
        """What the goal is about.

        Args:
            doses: of the structure's voxels in Gy; none: NaN.
            voxel_volume: in mm^3.
            prescription: in Gy; only needed where :py:attr:`needs_prescription` says so.

        Returns:
            in the goal's unit.
        """
        found = METRIC.fullmatch(self.metric)
        assert found is not None, self.metric
        mean, volume, in_cc, level, relative = found.groups()
        whole = (prescription or math.nan) if self.needs_prescription else math.nan
        if level is not None:
            percent = volume_at_dose(doses, float(level) * (whole / 100 if relative else 1))
            return percent if self.unit == "%" else percent / 100 * doses.size * voxel_volume / 1000
        if mean:
            dose = float(doses.mean(dtype=np.float64)) if doses.size else math.nan
        else:
            dose = dose_at_cc(doses, float(volume), voxel_volume) if in_cc else dose_at_volume(doses, float(volume))
        return dose if self.unit == "Gy" else 100 * dose / whole

    def met(self, value: float) -> bool | None:
        """Whether a value meets the goal; None where it is NaN."""
        if math.isnan(value):
            return None
        low = -math.inf if self.minimum is None else self.minimum
        high = math.inf if self.maximum is None else self.maximum
        return low - TOLERANCE <= value <= high + TOLERANCE


class GoalResult(NamedTuple):
    """A goal and what came of it.

    Attributes:
        goal: the goal.
        value: in the goal's unit; NaN where the structure is unknown or empty.
        passed: None where the value is NaN.
    """

    goal: Goal
    value: float
    passed: bool | None


def parse_goals(goals: Sequence[Mapping[str, Any] | Goal], structures: Sequence[str]) -> list[Goal]:
    """Check goals as JSON has them.

    There are no goals built in: they depend on the fractionation and are the department's to set. An example, for 70 to
    79 Gy in fractions of 2 Gy or less; rectum and bladder from QUANTEC (Marks et al. 2010, doi
    10.1016/j.ijrobp.2009.07.1754):

    .. code-block:: json

        [
            {"structure": "PTV", "metric": "D_95", "min": "95 %"},
            {"structure": "PTV", "metric": "D_2", "max": "107 %"},
            {"structure": "Rectum", "metric": "V_70", "max": "20 %", "source": "QUANTEC"},
            {"structure": "Rectum", "metric": "V_60", "max": "35 %", "source": "QUANTEC"},
            {"structure": "Bladder", "metric": "V_70", "max": "35 %", "source": "QUANTEC"}
        ]

    ==========  =================================================  ================================================
    metric      is                                                 in
    ==========  =================================================  ================================================
    ``mean``    mean dose                                          ``Gy``, or ``%`` of the prescription
    ``D_95``    dose that 95 % of the volume receive at least      ``Gy``, or ``%`` of the prescription
    ``D_2_cc``  dose that 2 cm^3 receive at least                  ``Gy``, or ``%`` of the prescription
    ``V_65``    volume that receives 65 Gy at least                ``%`` of the structure's volume, or ``cc``
    ``V_95%``   volume that receives 95 % of the prescription      ``%`` of the structure's volume, or ``cc``
    ==========  =================================================  ================================================

    Args:
        goals: each with ``structure``, ``metric``, and ``min`` or ``max`` or both; limits are texts with their unit, or
            numbers beside ``unit``. ``source`` is a free text. What is a :py:class:`Goal` already stays.
        structures: names of all structures.

    Raises:
        ConfigError: when a goal names an unknown structure, its metric or limits cannot be read, or it stands twice.
    """
    parsed: list[Goal] = []
    for entry in goals:
        goal = entry if isinstance(entry, Goal) else _parse(entry)
        if goal.structure not in structures:
            raise ConfigError(
                f"goal {goal.structure} {goal.label}: there is no structure {goal.structure!r}; name one of "
                f"{', '.join(structures)}."
            )
        if (goal.structure, goal.label) in {(other.structure, other.label) for other in parsed}:
            raise ConfigError(f"goal {goal.structure} {goal.label} stands twice; remove one.")
        parsed.append(goal)
    return parsed


def check_goals(
    dose: torch.Tensor,
    structures: torch.Tensor,
    names: Sequence[str],
    voxel_volume: float,
    prescription: float | None,
    goals: Sequence[Mapping[str, Any] | Goal],
) -> list[GoalResult]:
    """Compare the dose of one case with goals.

    Args:
        dose: in Gy, ``[1, *spatial]``.
        structures: ``[S, *spatial]``, above 0.5 is inside; a channel with any NaN is unknown.
        names: of the S structures.
        voxel_volume: in mm^3.
        prescription: in Gy; None where no goal depends on it.
        goals: as :py:func:`parse_goals` takes or gives them.

    Returns:
        one entry a goal, in their order.

    Raises:
        ConfigError: when a goal cannot be read.
        DataError: when shapes do not fit, or a goal depends on a prescription that is not known.
    """
    if len(dose) != 1:
        raise DataError(f"plan goals: dose {list(dose.shape)} must be [1, spatial ...]; check one dose at a time.")
    parsed = parse_goals(goals, names)
    relative = [f"{goal.structure} {goal.label}" for goal in parsed if goal.needs_prescription]
    if relative and not (prescription is not None and math.isfinite(prescription) and prescription > 0):
        raise DataError(
            f"goals {'; '.join(relative)} depend on the prescription, which is {prescription}; give it in Gy."
        )
    inside = dict(zip(names, doses_in_structures(dose, structures, names, voxel_volume), strict=True))
    values = [goal.value(inside[goal.structure].ravel(), voxel_volume, prescription) for goal in parsed]
    return [GoalResult(goal, value, goal.met(value)) for goal, value in zip(parsed, values, strict=True)]


def _parse(entry: Mapping[str, Any]) -> Goal:
    name = f"goal {dict(entry)}" if isinstance(entry, Mapping) else f"goal {entry!r}"
    if not isinstance(entry, Mapping) or not {"structure", "metric"} <= set(entry) <= KEYS:
        raise ConfigError(f"{name}: give structure, metric, and min or max; unit and source may be there, no more.")
    metric = str(entry["metric"]).replace(" ", "")
    found = METRIC.fullmatch(metric)
    percent = float(found.group(2)) if found and found.group(2) and not found.group(3) else 0.0
    if found is None or percent > 100:
        raise ConfigError(f"{name}: the metric {entry['metric']!r} is none of mean, D_95, D_2_cc, V_65, V_95%.")
    units = UNITS["volume" if metric.startswith("V") else "dose"]
    limits = {key: _limit(entry[key], entry.get("unit"), name) for key in ("min", "max") if entry.get(key) is not None}
    if not limits:
        raise ConfigError(f"{name}: there is no limit; give min or max.")
    used = {unit for _, unit in limits.values()}
    if len(used) > 1 or not used <= set(units):
        raise ConfigError(
            f"{name}: {metric} is measured in one of {' and '.join(units)}, not {' and '.join(sorted(used))}."
        )
    low, high = (limits[key][0] if key in limits else None for key in ("min", "max"))
    if low is not None and high is not None and low > high:
        raise ConfigError(f"{name}: min is greater than max.")
    return Goal(str(entry["structure"]), metric, used.pop(), low, high, str(entry.get("source") or ""))


def _limit(limit: Any, unit: str | None, name: str) -> tuple[float, str]:
    """Number and unit of a limit."""
    if isinstance(limit, str):
        found = LIMIT.fullmatch(limit)
        if found is None or (unit is not None and unit != found.group(2)):
            raise ConfigError(f"{name}: the limit {limit!r} must be a number and its unit, such as '95 %' or '50 Gy'.")
        return float(found.group(1)), found.group(2)
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not math.isfinite(limit):
        raise ConfigError(f"{name}: the limit {limit!r} is no number.")
    if unit is None:
        raise ConfigError(f"{name}: the limit {limit!r} has no unit; say unit, or write such as '{limit} %'.")
    return float(limit), str(unit)
