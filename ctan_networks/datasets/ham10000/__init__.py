# SPDX-License-Identifier: Apache-2.0
"""HAM10000 and ISIC 2018: dermatoscopic photographs, lesion masks and diagnoses (Tschandl et al. 2018)."""

from ctan_networks.datasets.ham10000.data_list import ham10000_list, inspect_photos
from ctan_networks.datasets.ham10000.phantoms import ham10000_cohort

__all__ = [
    "ham10000_cohort",
    "ham10000_list",
    "inspect_photos",
]
