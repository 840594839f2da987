# SPDX-License-Identifier: Apache-2.0
"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from shipped import copy_shipped

ROOT = Path(__file__).resolve().parents[1]


def pytest_configure() -> None:
    # Tests run side by side with whatever else the machine does; small tensors gain nothing from many threads.
    # Two processes with two threads each would wait for one another most of the time.
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or min(2, os.cpu_count() or 1)))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # They install a package and run all other tests once more: only for who asks for them.
    if "nextmonai" not in config.option.markexpr:
        items[:] = [item for item in items if item.get_closest_marker("nextmonai") is None]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """What was logged of a file whose name is no UTF-8 cannot be sent by pytest-xdist's processes."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(scope="session")
def bundles(tmp_path_factory) -> Path:
    """A copy of the bundles; whatever a checkout's own hold of runs and exports, no test sees it."""
    return copy_shipped(ROOT / "bundles", tmp_path_factory.mktemp("shipped") / "bundles")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the real data sets, or skip."""
    folder = os.environ.get("CTAN_DATA")
    if not folder:
        pytest.skip("CTAN_DATA does not name a folder of real data")
    return Path(folder)
