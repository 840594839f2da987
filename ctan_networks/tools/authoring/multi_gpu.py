# SPDX-License-Identifier: Apache-2.0
"""``multi_gpu_train.json`` and ``multi_gpu_evaluate.json`` of a new bundle: overlays for several processes."""

from __future__ import annotations

from typing import Any

__all__ = ["multi_gpu_evaluate", "multi_gpu_train"]


def multi_gpu_train() -> dict[str, Any]:
    """What differs from ``train.json``."""
    return {
        "device": "$engines.local_device()",
        "train#trainer#network": "$engines.wrap(@network, @device)",
        **_evaluator(),
        **_processes("train"),
    }


def multi_gpu_evaluate() -> dict[str, Any]:
    """What differs from ``train.json`` with ``evaluate.json``."""
    return {"device": "$engines.local_device()", **_evaluator(), **_processes("validate")}


def _evaluator() -> dict[str, Any]:
    return {
        "validate#dataloader#sampler": {
            "_target_": "ctan_networks.data.epoch_sampler.ShareSampler",
            "dataset": "@validate#dataset",
        },
        "validate#evaluator#_target_": "ctan_networks.engines.DistributedEvaluator",
    }


def _processes(part: str) -> dict[str, Any]:
    """The first process writes phantoms, parts and the like before the others read them."""
    return {
        "+initialize": [
            "$engines.start_processes()",
            "$engines.others_wait()",
            f"$len(@{part}#dataset#data)",
            "$engines.others_go_on()",
        ],
        "finalize": ["$engines.end_processes()"],
    }
