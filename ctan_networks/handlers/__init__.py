# SPDX-License-Identifier: Apache-2.0
"""Thin handlers for Ignite engines, where MONAI has none."""

from __future__ import annotations

from typing import Any

from ctan_networks._moved import moved_name
from ctan_networks.handlers.checkpoint import TrainingCheckpoint
from ctan_networks.handlers.finite_steps import FiniteSteps
from ctan_networks.handlers.gradient_clipping import GradientClipping
from ctan_networks.handlers.probability_table import ProbabilityTable
from ctan_networks.handlers.progress import Progress
from ctan_networks.handlers.publish_weights import PublishWeights
from ctan_networks.handlers.step_seed import StepSeed
from ctan_networks.handlers.task_losses import TaskLosses
from ctan_networks.handlers.weight_average import WeightAverage
from ctan_networks.handlers.weights_loader import WeightsCheckpointLoader

__all__ = [
    "FiniteSteps",
    "GradientClipping",
    "ProbabilityTable",
    "Progress",
    "PublishWeights",
    "StepSeed",
    "TaskLosses",
    "TrainingCheckpoint",
    "WeightAverage",
    "WeightsCheckpointLoader",
]


def __getattr__(name: str) -> Any:
    return moved_name(__name__, name)
