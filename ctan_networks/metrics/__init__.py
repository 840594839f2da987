# SPDX-License-Identifier: Apache-2.0
"""Metrics that MONAI lacks: dose, DVH, Dice and classes with unknown labels, Delta_MTL, key metric, bootstrap."""

from __future__ import annotations

from .bootstrap import Interval, bootstrap_interval
from .classification import (
    ClassificationScore,
    compute_accuracy,
    compute_balanced_accuracy,
    compute_ece,
    compute_recall,
    compute_roc_auc,
)
from .delta_mtl import DeltaMTL, delta_mtl
from .dose_score import DoseScore, compute_dose_score
from .dvh import DVHScore, compute_dvh_metrics, dose_at_volume, dvh_columns, dvh_curve, volume_at_dose
from .gamma import GammaPassRate, gamma_pass_rate
from .key_metric import KeyMetric, of_tasks, skill
from .plan_goals import Goal, GoalResult, check_goals, parse_goals
from .plan_metrics import VolumesAtDose, dose_statistics, homogeneity_index, paddick_conformity, v_at
from .structure_dice import StructureDice, compute_structure_dice

__all__ = [
    "ClassificationScore",
    "DVHScore",
    "DeltaMTL",
    "DoseScore",
    "GammaPassRate",
    "Goal",
    "GoalResult",
    "Interval",
    "KeyMetric",
    "StructureDice",
    "VolumesAtDose",
    "bootstrap_interval",
    "check_goals",
    "compute_accuracy",
    "compute_balanced_accuracy",
    "compute_dose_score",
    "compute_dvh_metrics",
    "compute_ece",
    "compute_recall",
    "compute_roc_auc",
    "compute_structure_dice",
    "delta_mtl",
    "dose_at_volume",
    "dose_statistics",
    "dvh_columns",
    "dvh_curve",
    "gamma_pass_rate",
    "homogeneity_index",
    "of_tasks",
    "paddick_conformity",
    "parse_goals",
    "skill",
    "v_at",
    "volume_at_dose",
]
