# SPDX-License-Identifier: Apache-2.0
"""The four networks: CTAN and the baselines of its paper, all built from the same blocks."""

from ctan_networks.nets.ctan import CTAN
from ctan_networks.nets.efficientnet_lite import EfficientNetLite
from ctan_networks.nets.encoder_weights import image_intensity, load_encoder_weights
from ctan_networks.nets.factory import ARCHITECTURES, make_network
from ctan_networks.nets.hard_sharing import HardParameterSharing
from ctan_networks.nets.mtan import MTAN
from ctan_networks.nets.multi_task import PLAIN, MultiTaskNet
from ctan_networks.nets.single_task import SingleTask

__all__ = [
    "ARCHITECTURES",
    "CTAN",
    "MTAN",
    "PLAIN",
    "EfficientNetLite",
    "HardParameterSharing",
    "MultiTaskNet",
    "SingleTask",
    "image_intensity",
    "load_encoder_weights",
    "make_network",
]
