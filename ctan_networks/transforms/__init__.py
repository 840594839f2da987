# SPDX-License-Identifier: Apache-2.0
"""Dictionary transforms that the bundles' configurations name, where MONAI has none."""

from ctan_networks.transforms.answers import SaveProbabilityJSONd
from ctan_networks.transforms.body import BodyMaskd, body_mask
from ctan_networks.transforms.cache_boundary import CacheBoundary
from ctan_networks.transforms.check_site import CheckSited
from ctan_networks.transforms.export_dicom import ExportDICOMd
from ctan_networks.transforms.given_contours import GivenContoursd, KeepGivenContoursd
from ctan_networks.transforms.invert_masks import InvertMasksd
from ctan_networks.transforms.labels import CompleteLabelsd
from ctan_networks.transforms.lungs import LungMaskd, lung_mask
from ctan_networks.transforms.masks import BinaryMaskd
from ctan_networks.transforms.monai_label import AnswerMONAILabeld
from ctan_networks.transforms.outputs import DoseInGrayd, SameGridd, SplitOutputsd
from ctan_networks.transforms.prescription import PrescribedDosed
from ctan_networks.transforms.save import SaveCased, SaveMaskd, SaveSubmissiond
from ctan_networks.transforms.save_pictures import SavePicturesd
from ctan_networks.transforms.spacing import KeepKeysSpacingd
from ctan_networks.transforms.structures import LabelMapd, RandMirrorPatientd, UnpackStructuresd
from ctan_networks.transforms.summaries import DoseSummaryd, ProbabilitySummaryd, SaveSummaryd
from ctan_networks.transforms.task_labels import CheckLabelsd, StructureChannelsd

__all__ = [
    "AnswerMONAILabeld",
    "BinaryMaskd",
    "BodyMaskd",
    "CacheBoundary",
    "CheckLabelsd",
    "CheckSited",
    "CompleteLabelsd",
    "DoseInGrayd",
    "DoseSummaryd",
    "ExportDICOMd",
    "GivenContoursd",
    "InvertMasksd",
    "KeepGivenContoursd",
    "KeepKeysSpacingd",
    "LabelMapd",
    "LungMaskd",
    "PrescribedDosed",
    "ProbabilitySummaryd",
    "RandMirrorPatientd",
    "SameGridd",
    "SaveCased",
    "SaveMaskd",
    "SavePicturesd",
    "SaveProbabilityJSONd",
    "SaveSubmissiond",
    "SaveSummaryd",
    "SplitOutputsd",
    "StructureChannelsd",
    "UnpackStructuresd",
    "body_mask",
    "lung_mask",
]
