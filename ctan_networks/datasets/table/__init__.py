# SPDX-License-Identifier: Apache-2.0
"""One's own images and tasks, listed in a CSV table."""

from ctan_networks.datasets.table.data_list import case_images, case_table
from ctan_networks.datasets.table.map_deviation import map_deviation
from ctan_networks.datasets.table.phantoms import task_cohort
from ctan_networks.datasets.table.reader import TaskReader

__all__ = [
    "TaskReader",
    "case_images",
    "case_table",
    "map_deviation",
    "task_cohort",
]
