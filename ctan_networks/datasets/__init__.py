# SPDX-License-Identifier: Apache-2.0
"""Data sets, one folder each: files, data list, reader and phantom cohort."""

from __future__ import annotations

from types import ModuleType

from ctan_networks._lazy import submodule


def __getattr__(name: str) -> ModuleType:
    return submodule(__name__, name)
