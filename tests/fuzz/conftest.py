# SPDX-License-Identifier: Apache-2.0
"""How many inputs each reader gets, and the loop over them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

# The helpers beside this file belong to no package.
sys.path.insert(0, str(Path(__file__).parent))

from corrupt import break_one
from harness import Watched

FEW = 40
MANY = int(os.environ.get("CTAN_FUZZ", "500"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if sys.platform != "linux":
        # The limits of memory and the child by fork are Linux's.
        for item in items:
            if Path(str(item.fspath)).parent == Path(__file__).parent:
                item.add_marker(pytest.mark.skip(reason="the fuzzer's limits need Linux"))


@pytest.fixture(params=[FEW, pytest.param(MANY, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def amount(request) -> int:
    """Distinct inputs for each reader."""
    return request.param


@pytest.fixture
def fuzz(amount, tmp_path, capsys) -> Callable[..., Watched]:
    """Run one reader over broken copies of a template; fails with every kind of fault that was found.

    Half of the inputs are seeded corruptions of any file or of the folder; half (where ``change`` is given) are made
    by ``change(folder, drawn)``, which writes what hypothesis drew from ``drawn``. ``limits`` are those of
    :py:class:`harness.Watched`, where a reader needs others.
    """

    def run(
        name: str,
        template: Path,
        read: Callable[[Path], str],
        change: Callable[..., str] | None = None,
        drawn: SearchStrategy[Any] | None = None,
        **limits: Any,
    ) -> Watched:
        with Watched(read, template, tmp_path / "inputs", **limits) as watched:
            good = watched(_nothing)
            assert good.kind == "read", f"the template is not good: {good}"
            watched.kinds.clear()
            if change is not None and drawn is not None:

                @settings(
                    max_examples=amount // 2,
                    derandomize=True,
                    database=None,
                    deadline=None,
                    phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck),
                )
                @given(drawn)
                def structured(value: Any) -> None:
                    watched(partial(change, drawn=value))

                structured()
            number = 0
            while len(watched.digests) - 1 < amount and number < 4 * amount:
                watched(partial(break_one, seed=f"{name} {number}"))
                number += 1
        # Not counted: the template itself.
        watched.digests.discard(good.digest)
        with capsys.disabled():
            print(f"\n{watched.report(name)}")
        if watched.faults:
            pytest.fail(watched.report(name), pytrace=False)
        assert len(watched.digests) >= amount
        return watched

    return run


def _nothing(folder: Path) -> str:
    return "nothing"
