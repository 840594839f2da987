# SPDX-License-Identifier: Apache-2.0
"""The blocks that all networks are built from, one idea a file."""

from ctan_networks.blocks.backbone import BackboneEncoder
from ctan_networks.blocks.bottleneck import CrossTaskBottleneck
from ctan_networks.blocks.branches import ClassificationBranch, DenseBranch
from ctan_networks.blocks.decoder import Decoder
from ctan_networks.blocks.encoder import Encoder, EncoderLevel, SharedEncoder
from ctan_networks.blocks.initialisation import initialise_parameters
from ctan_networks.blocks.stacking import split_stacked, stack_outputs, stacked_channels
from ctan_networks.blocks.task_attention import TaskAttention
from ctan_networks.blocks.tasks import check_tasks

__all__ = [
    "BackboneEncoder",
    "ClassificationBranch",
    "CrossTaskBottleneck",
    "Decoder",
    "DenseBranch",
    "Encoder",
    "EncoderLevel",
    "SharedEncoder",
    "TaskAttention",
    "check_tasks",
    "initialise_parameters",
    "split_stacked",
    "stack_outputs",
    "stacked_channels",
]
