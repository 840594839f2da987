# SPDX-License-Identifier: Apache-2.0
"""OpenKBP: planning CT, contours and dose of head-and-neck patients as sparse CSV (Babier et al. 2021)."""

from ctan_networks.datasets.openkbp.data_list import openkbp_list
from ctan_networks.datasets.openkbp.phantoms import openkbp_cohort
from ctan_networks.datasets.openkbp.reader import OpenKBPReader
from ctan_networks.datasets.openkbp.submission import SaveSubmissiond

__all__ = [
    "OpenKBPReader",
    "SaveSubmissiond",
    "openkbp_cohort",
    "openkbp_list",
]
