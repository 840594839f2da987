# SPDX-License-Identifier: Apache-2.0
"""Synthetic cohorts in each data set's own on-disk format, and the marker that tells them from patients."""

from ctan_networks.phantoms.marker import is_phantom, mark_phantom
from ctan_networks.phantoms.openkbp import openkbp_cohort

__all__ = ["is_phantom", "mark_phantom", "openkbp_cohort"]
