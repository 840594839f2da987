# SPDX-License-Identifier: Apache-2.0
"""MONAI Label: its items and answers, and its server in one command."""

from __future__ import annotations

from types import ModuleType

from ctan_networks._lazy import submodule


def __getattr__(name: str) -> ModuleType:
    return submodule(__name__, name)
