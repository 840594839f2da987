# SPDX-License-Identifier: Apache-2.0
"""What MONAI's trainer and evaluator need to work on several tasks."""

from ctan_networks.engines.augmented_inference import TestTimeAugmentation
from ctan_networks.engines.backends import inference_network
from ctan_networks.engines.case_evaluator import CaseByCaseEvaluator
from ctan_networks.engines.distributed import (
    end_processes,
    is_not_rank0,
    local_device,
    others_go_on,
    others_wait,
    start_processes,
    wrap,
)
from ctan_networks.engines.distributed_evaluator import DistributedEvaluator
from ctan_networks.engines.gradient_aggregation import GradientAggregation, gradient_step
from ctan_networks.engines.mixed_precision import MixedPrecisionInferer, fast_bfloat16
from ctan_networks.engines.prepare_batch import PrepareMultiTaskBatch
from ctan_networks.engines.stored_predictions import stored_predictions

__all__ = [
    "CaseByCaseEvaluator",
    "DistributedEvaluator",
    "GradientAggregation",
    "MixedPrecisionInferer",
    "PrepareMultiTaskBatch",
    "TestTimeAugmentation",
    "end_processes",
    "fast_bfloat16",
    "gradient_step",
    "inference_network",
    "is_not_rank0",
    "local_device",
    "others_go_on",
    "others_wait",
    "start_processes",
    "stored_predictions",
    "wrap",
]
