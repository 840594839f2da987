# SPDX-License-Identifier: Apache-2.0
"""Readers, data lists and data sets: from files to cases."""

from ctan_networks.data.cached_dataset import CachedDataset
from ctan_networks.data.case_parts import case_parts
from ctan_networks.data.case_reader import CaseReader
from ctan_networks.data.case_table import case_images, case_table
from ctan_networks.data.class_weights import class_weights
from ctan_networks.data.contoured_list import contoured_list
from ctan_networks.data.dicom_rt_convert import convert_patient
from ctan_networks.data.dicom_rt_list import dicom_rt_inference_list, dicom_rt_list
from ctan_networks.data.epoch_sampler import EpochSampler
from ctan_networks.data.ham10000 import ham10000_list, inspect_photos, photo_list
from ctan_networks.data.map_deviation import map_deviation
from ctan_networks.data.monai_label import MONAILabelItem, is_from_server
from ctan_networks.data.openkbp_list import inference_list, openkbp_list
from ctan_networks.data.openkbp_reader import OpenKBPReader
from ctan_networks.data.photo_reader import PhotoReader
from ctan_networks.data.readable_cases import ReadableCases
from ctan_networks.data.splits import fold_of, labelled, split_cases
from ctan_networks.data.stoic import stoic_list
from ctan_networks.data.task_reader import TaskReader
from ctan_networks.data.volume_list import volume_list

__all__ = [
    "CachedDataset",
    "CaseReader",
    "EpochSampler",
    "MONAILabelItem",
    "OpenKBPReader",
    "PhotoReader",
    "ReadableCases",
    "TaskReader",
    "case_images",
    "case_parts",
    "case_table",
    "class_weights",
    "contoured_list",
    "convert_patient",
    "dicom_rt_inference_list",
    "dicom_rt_list",
    "fold_of",
    "ham10000_list",
    "inference_list",
    "inspect_photos",
    "is_from_server",
    "labelled",
    "map_deviation",
    "openkbp_list",
    "photo_list",
    "split_cases",
    "stoic_list",
    "volume_list",
]
