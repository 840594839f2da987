# SPDX-License-Identifier: Apache-2.0
"""STOIC2021: chest CT with COVID-19 status and severity (Revel et al. 2021)."""

from ctan_networks.datasets.stoic.data_list import stoic_list
from ctan_networks.datasets.stoic.lungs import LungMaskd, lung_mask
from ctan_networks.datasets.stoic.phantoms import stoic_cohort

__all__ = [
    "LungMaskd",
    "lung_mask",
    "stoic_cohort",
    "stoic_list",
]
