# SPDX-License-Identifier: Apache-2.0
"""Patient folders in DICOM-RT, as a clinic exports them, with phantoms of the male pelvis."""

from ctan_networks.datasets.prostate.data_list import dicom_rt_list
from ctan_networks.datasets.prostate.phantoms import prostate_cohort

__all__ = [
    "dicom_rt_list",
    "prostate_cohort",
]
