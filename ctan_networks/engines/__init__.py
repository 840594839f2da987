# SPDX-License-Identifier: Apache-2.0
"""What MONAI's trainer and evaluator need to work on several tasks."""

from ctan_networks.engines.prepare_batch import PrepareMultiTaskBatch
from ctan_networks.engines.stored_predictions import stored_predictions

__all__ = ["PrepareMultiTaskBatch", "stored_predictions"]
