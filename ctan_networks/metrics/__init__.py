# SPDX-License-Identifier: Apache-2.0
"""Metrics that MONAI lacks: dose score, DVH score, Dice with unknown structures, Delta_MTL and the key metric."""

from __future__ import annotations

from .delta_mtl import DeltaMTL, delta_mtl
from .dose_score import DoseScore, compute_dose_score
from .dvh import DVHScore, compute_dvh_metrics, dose_at_volume, dvh_columns, dvh_curve, volume_at_dose
from .key_metric import KeyMetric, of_tasks, skill
from .structure_dice import StructureDice, compute_structure_dice

__all__ = [
    "DVHScore",
    "DeltaMTL",
    "DoseScore",
    "KeyMetric",
    "StructureDice",
    "compute_dose_score",
    "compute_dvh_metrics",
    "compute_structure_dice",
    "delta_mtl",
    "dose_at_volume",
    "dvh_columns",
    "dvh_curve",
    "of_tasks",
    "skill",
    "volume_at_dose",
]
