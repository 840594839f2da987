# SPDX-License-Identifier: Apache-2.0
"""Metrics of doses and treatment plans."""

from ctan_networks.radiotherapy.metrics.dose_score import DoseScore, compute_dose_score
from ctan_networks.radiotherapy.metrics.dvh import (
    DVHScore,
    compute_dvh_metrics,
    dose_at_volume,
    dvh_columns,
    dvh_curve,
    volume_at_dose,
)
from ctan_networks.radiotherapy.metrics.gamma import GammaPassRate, gamma_pass_rate
from ctan_networks.radiotherapy.metrics.plan_goals import Goal, GoalResult, check_goals, parse_goals
from ctan_networks.radiotherapy.metrics.plan_metrics import (
    VolumesAtDose,
    dose_statistics,
    homogeneity_index,
    paddick_conformity,
    v_at,
)

__all__ = [
    "DVHScore",
    "DoseScore",
    "GammaPassRate",
    "Goal",
    "GoalResult",
    "VolumesAtDose",
    "check_goals",
    "compute_dose_score",
    "compute_dvh_metrics",
    "dose_at_volume",
    "dose_statistics",
    "dvh_columns",
    "dvh_curve",
    "gamma_pass_rate",
    "homogeneity_index",
    "paddick_conformity",
    "parse_goals",
    "v_at",
    "volume_at_dose",
]
