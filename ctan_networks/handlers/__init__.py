# SPDX-License-Identifier: Apache-2.0
"""Thin handlers for Ignite engines, where MONAI has none."""

from ctan_networks.handlers.checkpoint import TrainingCheckpoint
from ctan_networks.handlers.classification_report import ClassificationReport
from ctan_networks.handlers.evaluation_report import EvaluationReport
from ctan_networks.handlers.finite_steps import FiniteSteps
from ctan_networks.handlers.gradient_clipping import GradientClipping
from ctan_networks.handlers.probability_table import ProbabilityTable
from ctan_networks.handlers.progress import Progress
from ctan_networks.handlers.publish_weights import PublishWeights
from ctan_networks.handlers.report import Report
from ctan_networks.handlers.step_seed import StepSeed
from ctan_networks.handlers.task_losses import TaskLosses
from ctan_networks.handlers.weight_average import WeightAverage

__all__ = [
    "ClassificationReport",
    "EvaluationReport",
    "FiniteSteps",
    "GradientClipping",
    "ProbabilityTable",
    "Progress",
    "PublishWeights",
    "Report",
    "StepSeed",
    "TaskLosses",
    "TrainingCheckpoint",
    "WeightAverage",
]
