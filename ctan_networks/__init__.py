# SPDX-License-Identifier: Apache-2.0
"""Multi-task networks for medical images, their losses, metrics and data, for use in MONAI bundles."""

from __future__ import annotations

from types import ModuleType

from ctan_networks._lazy import submodule
from ctan_networks._moved import keep_old_packages

__version__ = "0.1.0"

keep_old_packages(__name__)


def __getattr__(name: str) -> ModuleType:
    return submodule(__name__, name)
