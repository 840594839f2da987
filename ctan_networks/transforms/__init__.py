# SPDX-License-Identifier: Apache-2.0
"""Dictionary transforms that the bundles' configurations name, where MONAI has none."""

from __future__ import annotations

from typing import Any

from ctan_networks._moved import moved_name
from ctan_networks.transforms.answers import SaveProbabilityJSONd
from ctan_networks.transforms.cache_boundary import CacheBoundary
from ctan_networks.transforms.invert_masks import InvertMasksd
from ctan_networks.transforms.labels import CompleteLabelsd
from ctan_networks.transforms.logit_adjustment import LogitAdjustmentd
from ctan_networks.transforms.masks import TurnMasksd
from ctan_networks.transforms.not_inverted import NotInverted
from ctan_networks.transforms.outputs import SameGridd, SplitOutputsd
from ctan_networks.transforms.save import SaveCased
from ctan_networks.transforms.save_mask import SaveMaskd
from ctan_networks.transforms.save_pictures import SavePicturesd
from ctan_networks.transforms.spacing import KeepKeysSpacingd
from ctan_networks.transforms.structures import LabelMapd, RandMirrorPatientd, UnpackStructuresd
from ctan_networks.transforms.summaries import ProbabilitySummaryd, SaveSummaryd
from ctan_networks.transforms.task_labels import CheckLabelsd, StructureChannelsd

__all__ = [
    "CacheBoundary",
    "CheckLabelsd",
    "CompleteLabelsd",
    "InvertMasksd",
    "KeepKeysSpacingd",
    "LabelMapd",
    "LogitAdjustmentd",
    "NotInverted",
    "ProbabilitySummaryd",
    "RandMirrorPatientd",
    "SameGridd",
    "SaveCased",
    "SaveMaskd",
    "SavePicturesd",
    "SaveProbabilityJSONd",
    "SaveSummaryd",
    "SplitOutputsd",
    "StructureChannelsd",
    "TurnMasksd",
    "UnpackStructuresd",
]


def __getattr__(name: str) -> Any:
    return moved_name(__name__, name)
