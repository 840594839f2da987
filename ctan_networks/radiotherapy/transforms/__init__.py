# SPDX-License-Identifier: Apache-2.0
"""Dictionary transforms of planning CTs, contours and doses."""

from ctan_networks.radiotherapy.transforms.body import BodyMaskd, body_mask
from ctan_networks.radiotherapy.transforms.check_site import CheckSited
from ctan_networks.radiotherapy.transforms.dose_in_gray import DoseInGrayd
from ctan_networks.radiotherapy.transforms.dose_summary import DoseSummaryd
from ctan_networks.radiotherapy.transforms.export_dicom import ExportDICOMd
from ctan_networks.radiotherapy.transforms.given_contours import GivenContoursd, KeepGivenContoursd
from ctan_networks.radiotherapy.transforms.hounsfield import HounsfieldUnitsd
from ctan_networks.radiotherapy.transforms.note_image import NoteImaged
from ctan_networks.radiotherapy.transforms.planned_dose import PlannedDosed
from ctan_networks.radiotherapy.transforms.possible_dose import PossibleDosed
from ctan_networks.radiotherapy.transforms.prescription import PrescribedDosed

__all__ = [
    "BodyMaskd",
    "CheckSited",
    "DoseInGrayd",
    "DoseSummaryd",
    "ExportDICOMd",
    "GivenContoursd",
    "HounsfieldUnitsd",
    "KeepGivenContoursd",
    "NoteImaged",
    "PlannedDosed",
    "PossibleDosed",
    "PrescribedDosed",
    "body_mask",
]
