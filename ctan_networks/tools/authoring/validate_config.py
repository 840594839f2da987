# SPDX-License-Identifier: Apache-2.0
"""The part ``validate`` of a new bundle's ``train.json``."""

from __future__ import annotations

from typing import Any

from ctan_networks.tools.authoring import steps
from ctan_networks.tools.authoring.plan import Plan
from ctan_networks.tools.authoring.shared import dataset, tensorboard, whole_case

__all__ = ["validate_config"]

# Kind to the metrics of a validation, name to the metric; the first enters the key metric.
METRICS: dict[str, dict[str, dict[str, Any]]] = {
    "segmentation": {"dice": {"_target_": "ctan_networks.metrics.StructureDice"}},
    "regression": {"mae": {"_target_": "ctan_networks.metrics.map_error.MapError"}},
    "classification": {
        "balanced_accuracy": {
            "_target_": "ctan_networks.metrics.ClassificationScore",
            "metric": "balanced_accuracy",
        },
        "roc_auc": {"_target_": "ctan_networks.metrics.ClassificationScore", "metric": "roc_auc"},
    },
}


def validate_config(plan: Plan) -> dict[str, Any]:
    """Preprocessing, metrics and evaluator, which ``evaluate.json`` uses, too."""
    copied = [{"_target_": "CopyItemsd", "keys": "image", "names": "original"}] if plan.dense else []
    return {
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                *steps.load(plan, labels=True),
                *steps.check_labels(plan),
                *copied,
                *steps.image_to_network(plan),
                *steps.cast(plan),
                *steps.spread(plan, training=False),
                steps.complete("original" if plan.dense else "image"),
            ],
        },
        "dataset": dataset(plan, "$cases.labelled(@parts[@split], @scored_tasks)", "@validate#preprocessing"),
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@validate#dataset",
            "batch_size": 1,
            "shuffle": False,
            "num_workers": "@num_workers",
        },
        "inferer": whole_case(plan),
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                steps.split_outputs(),
                *steps.activate(plan),
                *steps.scale_maps(plan),
                *steps.invert(plan, "@validate#preprocessing"),
            ],
        },
        "metrics": {task.name: _metrics(task.name, task.kind) for task in plan.tasks},
        "key_metric": {"score": _key_metric(plan)},
        "additional_metrics": "$metrics.of_tasks(@validate#metrics, @scored_tasks)",
        "handlers": [
            {"_target_": "StatsHandler", "_disabled_": "@is_not_rank0", "iteration_log": False},
            tensorboard(),
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@validate#dataloader",
            "network": "@average_network",
            "inferer": "@validate#inferer",
            "prepare_batch": "@prepare_batch",
            "postprocessing": "@validate#postprocessing",
            "key_val_metric": "@validate#key_metric",
            "additional_metrics": "@validate#additional_metrics",
            "val_handlers": "@validate#handlers",
        },
    }


def _metrics(task: str, kind: str) -> dict[str, Any]:
    return {
        f"{task}_{name}": {
            "_target_": "IgniteMetricHandler",
            "metric_fn": metric,
            "output_transform": f"$monai.handlers.from_engine(['predicted_{task}', 'reference_{task}'])",
        }
        for name, metric in METRICS[kind].items()
    }


def _key_metric(plan: Plan) -> dict[str, Any]:
    trivial: dict[str, Any] = {}
    for task in plan.tasks:
        trivial[task.name] = {
            "segmentation": 0.0,
            "classification": f"$1 / {task.channels}",
            "regression": f"$table.map_deviation(@train#dataset.data, '{task.name}', {plan.spatial_dims})",
        }[task.kind]
    first = {task.name: f"{task.name}_{next(iter(METRICS[task.kind]))}" for task in plan.tasks}
    return {
        "_target_": "ctan_networks.metrics.KeyMetric",
        "metrics": {name: f"@validate#metrics#{name}#{metric}" for name, metric in first.items()},
        "trivial": trivial,
        "perfect": {task.name: 0.0 if task.kind == "regression" else 1.0 for task in plan.tasks},
        "tasks": "@scored_tasks",
    }
