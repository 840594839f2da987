# SPDX-License-Identifier: Apache-2.0
"""Metrics that MONAI lacks: Dice and classes with unknown labels, Delta_MTL, key metric, bootstrap."""

from __future__ import annotations

from typing import Any

from ctan_networks._moved import moved_name

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
from .key_metric import KeyMetric, of_tasks, skill
from .structure_dice import StructureDice, compute_structure_dice

__all__ = [
    "ClassificationScore",
    "DeltaMTL",
    "Interval",
    "KeyMetric",
    "StructureDice",
    "bootstrap_interval",
    "compute_accuracy",
    "compute_balanced_accuracy",
    "compute_ece",
    "compute_recall",
    "compute_roc_auc",
    "compute_structure_dice",
    "delta_mtl",
    "of_tasks",
    "skill",
]


def __getattr__(name: str) -> Any:
    return moved_name(__name__, name)
