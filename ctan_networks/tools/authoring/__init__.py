# SPDX-License-Identifier: Apache-2.0
"""New bundles: from a list of tasks to a folder that trains, evaluates and predicts."""

from ctan_networks.tools.authoring.bundle import write_bundle
from ctan_networks.tools.authoring.plan import Plan
from ctan_networks.tools.authoring.tasks import Task, parse_tasks

__all__ = ["Plan", "Task", "parse_tasks", "write_bundle"]
