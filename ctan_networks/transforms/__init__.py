# SPDX-License-Identifier: Apache-2.0
"""Dictionary transforms that the bundles' configurations name, where MONAI has none."""

from ctan_networks.transforms.answers import SaveProbabilityJSONd
from ctan_networks.transforms.body import BodyMaskd, body_mask
from ctan_networks.transforms.cache_boundary import CacheBoundary
from ctan_networks.transforms.export_dicom import ExportDICOMd
from ctan_networks.transforms.labels import CompleteLabelsd
from ctan_networks.transforms.lungs import LungMaskd, lung_mask
from ctan_networks.transforms.outputs import DoseInGrayd, SameGridd, SplitOutputsd
from ctan_networks.transforms.prescription import PrescribedDosed
from ctan_networks.transforms.save import SaveCased, SaveMaskd, SaveSubmissiond
from ctan_networks.transforms.structures import LabelMapd, RandMirrorPatientd, UnpackStructuresd

__all__ = [
    "BodyMaskd",
    "CacheBoundary",
    "CompleteLabelsd",
    "DoseInGrayd",
    "ExportDICOMd",
    "LabelMapd",
    "LungMaskd",
    "PrescribedDosed",
    "RandMirrorPatientd",
    "SameGridd",
    "SaveCased",
    "SaveMaskd",
    "SaveProbabilityJSONd",
    "SaveSubmissiond",
    "SplitOutputsd",
    "UnpackStructuresd",
    "body_mask",
    "lung_mask",
]
