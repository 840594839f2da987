# SPDX-License-Identifier: Apache-2.0
"""Synthetic cohorts in each data set's own on-disk format, and the marker that tells them from patients."""

from ctan_networks.phantoms.ham10000 import ham10000_cohort
from ctan_networks.phantoms.marker import is_phantom, mark_phantom
from ctan_networks.phantoms.openkbp import openkbp_cohort
from ctan_networks.phantoms.prostate import prostate_cohort
from ctan_networks.phantoms.stoic import stoic_cohort
from ctan_networks.phantoms.task_cohort import task_cohort

__all__ = [
    "ham10000_cohort",
    "is_phantom",
    "mark_phantom",
    "openkbp_cohort",
    "prostate_cohort",
    "stoic_cohort",
    "task_cohort",
]
