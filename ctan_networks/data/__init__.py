# SPDX-License-Identifier: Apache-2.0
"""Data lists, splits, caches and readers of single files, for any data set."""

from __future__ import annotations

from typing import Any

from ctan_networks._moved import moved_name
from ctan_networks.data.cached_dataset import CachedDataset
from ctan_networks.data.case_parts import case_parts
from ctan_networks.data.class_weights import class_shares, class_weights
from ctan_networks.data.epoch_sampler import EpochSampler
from ctan_networks.data.mask_reader import MaskReader
from ctan_networks.data.phantom_marker import is_phantom
from ctan_networks.data.photo_list import photo_list
from ctan_networks.data.photo_reader import PhotoReader
from ctan_networks.data.readable_cases import ReadableCases
from ctan_networks.data.splits import fold_of, labelled, split_cases

__all__ = [
    "CachedDataset",
    "EpochSampler",
    "MaskReader",
    "PhotoReader",
    "ReadableCases",
    "case_parts",
    "class_shares",
    "class_weights",
    "fold_of",
    "is_phantom",
    "labelled",
    "photo_list",
    "split_cases",
]


def __getattr__(name: str) -> Any:
    return moved_name(__name__, name)
