# SPDX-License-Identifier: Apache-2.0
"""The multi-task loss, one loss per kind of task that ignores what has no label, and the weightings of tasks."""

from __future__ import annotations

from .dice_bce import DiceBCELoss
from .masked_cross_entropy import MaskedCrossEntropyLoss
from .masked_l1 import MaskedL1Loss
from .multi_task import MultiTaskLoss, parameter_groups
from .weightings import WEIGHTINGS, DynamicWeightAverage, EqualWeighting, UncertaintyWeighting, make_weighting

__all__ = [
    "WEIGHTINGS",
    "DiceBCELoss",
    "DynamicWeightAverage",
    "EqualWeighting",
    "MaskedCrossEntropyLoss",
    "MaskedL1Loss",
    "MultiTaskLoss",
    "UncertaintyWeighting",
    "make_weighting",
    "parameter_groups",
]
