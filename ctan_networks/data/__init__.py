# SPDX-License-Identifier: Apache-2.0
"""Readers, data lists and data sets: from files to cases."""

from ctan_networks.data.cached_dataset import CachedDataset
from ctan_networks.data.case_reader import CaseReader
from ctan_networks.data.epoch_sampler import EpochSampler
from ctan_networks.data.openkbp_list import inference_list, openkbp_list
from ctan_networks.data.openkbp_reader import OpenKBPReader
from ctan_networks.data.readable_cases import ReadableCases

__all__ = [
    "CachedDataset",
    "CaseReader",
    "EpochSampler",
    "OpenKBPReader",
    "ReadableCases",
    "inference_list",
    "openkbp_list",
]
