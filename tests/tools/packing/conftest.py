# SPDX-License-Identifier: Apache-2.0
"""Packed bundles, each made once for all tests of packing."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from ctan_networks.tools.packing.pack import pack_bundle
from ctan_networks.tools.packing.unpack import unpack_bundle


@pytest.fixture(scope="session")
def packed(bundles, tmp_path_factory) -> Callable[[str], Path]:
    """Pack a bundle and unpack it; all of them lie in one folder."""
    place = tmp_path_factory.mktemp("packed")

    @cache
    def make(name: str) -> Path:
        return unpack_bundle(pack_bundle(bundles / name, place / "zip"), place / "bundles")

    return make
