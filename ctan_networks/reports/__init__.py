# SPDX-License-Identifier: Apache-2.0
"""Tables, figures and HTML pages of an evaluation, and the handlers that fill them."""

from __future__ import annotations

from types import ModuleType

from ctan_networks._lazy import submodule


def __getattr__(name: str) -> ModuleType:
    return submodule(__name__, name)
