# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from ctan_networks.errors import ConfigError
from ctan_networks.tools.comparison.plan import plan_runs

TASKS = ["segmentation", "dose"]


def test_single_tasks_are_trained_once_a_task_and_seed():
    runs = plan_runs(TASKS, ["stl", "hps", "ctan"], ["equal", "dwa"], seeds=2)
    assert len(runs) == 2 * (2 + 2 + 2) and len({run.name for run in runs}) == len(runs)
    single = [run for run in runs if run.architecture == "stl"]
    assert {(run.task, run.seed) for run in single} == {(t, s) for t in TASKS for s in (0, 1)}
    assert all("weighting" not in run.overrides() and run.method == "STL" for run in single)
    assert runs[0].seed == runs[5].seed == 0, "a whole seed before the next"


def test_ablations_are_of_ctan_alone():
    runs = plan_runs(TASKS, ["hps", "ctan"], ["equal"], seeds=1, ablate=True)
    assert [run.method for run in runs] == [
        "HPS, equal",
        "CTAN, equal",
        "CTAN (no encoder attention), equal",
        "CTAN (no bottleneck attention), equal",
        "CTAN (no attention), equal",
    ]
    assert runs[2].overrides() == {
        "architecture": "ctan",
        "seed": 0,
        "weighting": "equal",
        "network_def#attention_encoder": False,
    }


@pytest.mark.parametrize(
    "wrong",
    [{"architectures": ["unet"]}, {"weightings": ["gradnorm"]}, {"seeds": 0}, {"folds": 1}, {"architectures": []}],
)
def test_wrong_plans(wrong):
    with pytest.raises(ConfigError):
        plan_runs(**({"tasks": TASKS, "architectures": ["ctan"], "weightings": ["equal"], "seeds": 1} | wrong))
