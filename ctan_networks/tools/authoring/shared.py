# SPDX-License-Identifier: Apache-2.0
"""What the configurations of a new bundle have in common."""

from __future__ import annotations

from typing import Any

from ctan_networks.tools.authoring.plan import Plan

__all__ = ["IMPORTS", "dataset", "names_of_channels", "phantom_cohort", "seen", "tensorboard", "whole_case"]

IMPORTS = [
    "$import copy",
    "$import torch",
    "$import monai",
    "$from ctan_networks import data as cases",
    "$from ctan_networks import engines",
    "$from ctan_networks import losses",
    "$from ctan_networks import metrics",
    "$from ctan_networks import workflow",
    "$from ctan_networks.datasets import table",
    "$from ctan_networks.tools.monai_label import item",
]


def phantom_cohort(plan: Plan) -> str:
    """The expression that gives the list of phantoms, which are written at the first use."""
    given = f"@tasks, {plan.spatial_dims}, {plan.in_channels}, @classes"
    return f"table.task_cohort(@bundle_root + '/phantom', {given})"


def names_of_channels(plan: Plan) -> dict[str, Any]:
    """Structures and classes; ``classes`` is there without any too, since the list of cases asks for it."""
    return {**({"structures": plan.structures} if plan.segmentations else {}), "classes": plan.classes}


def dataset(plan: Plan, data: str, transform: str) -> dict[str, Any]:
    """A data set with a cache, which takes items of MONAI Label, too."""
    return {
        "_target_": "ctan_networks.data.CachedDataset",
        "data": data,
        "transform": transform,
        "cache_dir": "@cache_dir",
        "seed": "@seed",
        "adapt": {
            "_target_": "ctan_networks.tools.monai_label.item.MONAILabelItem",
            "classes": "@classes",
            "files": [task.name for task in (*plan.regressions, *plan.segmentations[1:])],
            "segmentation": plan.segmentations[0].name if plan.segmentations else None,
        },
    }


def whole_case(plan: Plan) -> dict[str, Any]:
    """What brings a whole case to the network: windows over a volume, beyond whose edge lies the mean, 0."""
    if not plan.sliding:
        return {"_target_": "SimpleInferer"}
    windows = {
        "_target_": "SlidingWindowInferer",
        "roi_size": "@crop_size",
        "sw_batch_size": 1,
        "overlap": 0.5,
        "mode": "gaussian",
        "padding_mode": "constant",
        "cval": 0.0,
    }
    if not plan.classifications:
        return windows
    return {"_target_": "ctan_networks.engines.stacked_inferer.StackedInferer", "inferer": windows}


def seen(plan: Plan) -> dict[str, Any]:
    """Settings that change what the network sees; they are kept with the weights."""
    return {
        **({"pixdim": "@pixdim"} if plan.volume else {}),
        **({"crop_size": "@crop_size"} if plan.sliding else {"image_size": "@image_size"}),
        **({"scales": "@scales"} if plan.regressions else {}),
    }


def tensorboard() -> dict[str, Any]:
    """Curves of losses and scores."""
    return {
        "_target_": "TensorBoardStatsHandler",
        "_disabled_": "@is_not_rank0",
        "log_dir": "$@output_dir + '/tensorboard'",
        "iteration_log": False,
    }
