# SPDX-License-Identifier: Apache-2.0
"""``evaluate.json`` and ``inference.json`` of a new bundle."""

from __future__ import annotations

from typing import Any

from ctan_networks.tools.authoring import steps
from ctan_networks.tools.authoring.plan import Plan
from ctan_networks.tools.authoring.shared import IMPORTS, names_of_channels, phantom_cohort, seen, whole_case
from ctan_networks.tools.authoring.tasks import Task

__all__ = ["evaluate_config", "inference_config"]

COMPARED = {
    "segmentation": ["mean_dice"],
    "regression": ["mae"],
    "classification": ["balanced_accuracy", "roc_auc"],
}
REPORTS = "ctan_networks.reports.sections"
SECTIONS = {
    "segmentation": f"{REPORTS}.segmentation.SegmentationSection",
    "regression": f"{REPORTS}.regression.RegressionSection",
    "classification": f"{REPORTS}.classification.ClassificationSection",
}
# The sizes that training on a CPU uses, where weights do not say what theirs were.
DEFAULTS = {"crop_size": 64, "image_size": 64}
LOADED = (
    "$workflow.pick_weights(@bundle_root + '/models/model.pt', @bundle_root + '/runs/patients_' + @run_name"
    " + '/model.pt', @bundle_root + '/runs/phantom_' + @run_name + '/model.pt')"
)


def evaluate_config(plan: Plan) -> dict[str, Any]:
    """The overlay on ``train.json`` that scores the validation or test cases."""
    return {
        "checkpoint": "$workflow.pick_weights(@output_dir + '/model.pt', @bundle_root + '/models/model.pt')",
        **trained_settings(plan),
        "encoder_weights": None,
        "compared": {task.name: COMPARED[task.kind] for task in plan.tasks},
        "evaluation_dir": "$@output_dir + '/evaluation_' + @split",
        "details": {
            "phantom": "@phantom",
            "architecture": "@architecture",
            "encoder": "@encoder",
            "tasks": "@scored_tasks",
            "weights": "@checkpoint",
            "split": "@split",
            "cases": "$len(@validate#dataset#data)",
            **seen(plan),
        },
        "validate#handlers": [
            {
                "_target_": "ctan_networks.handlers.WeightsCheckpointLoader",
                "load_path": "@checkpoint",
                "load_dict": {"model": "@average_network"},
                "map_location": "@device",
            },
            {
                "_target_": "ctan_networks.reports.report.Report",
                "output_dir": "@evaluation_dir",
                "title": plan.title,
                "sections": [_section(task) for task in plan.tasks],
                "tasks": "@scored_tasks",
                "details": "@details",
                "phantom": "@phantom",
                "history": "$@output_dir + '/history.csv'",
                "image_key": "original" if plan.dense else "image",
            },
        ],
        "run": ["$workflow.warn_of_phantoms(@phantom)", "$@validate#evaluator.run()"],
    }


def _section(task: Task) -> dict[str, Any]:
    """The section of the report that says how well a task is done."""
    section = {"_target_": SECTIONS[task.kind], "task": task.name}
    if task.kind == "segmentation":
        return {**section, "structures": f"$list(@structures['{task.name}'])", "evaluated": _metric(task, "dice")}
    if task.kind == "regression":
        return {**section, "evaluated": _metric(task, "mae")}
    return {**section, "classes": f"$@classes['{task.name}']"}


def _metric(task: Task, name: str) -> str:
    return f"@validate#metrics#{task.name}#{task.name}_{name}"


def trained_settings(plan: Plan) -> dict[str, Any]:
    """What the network sees, as it was in training; training's own defaults where the weights do not say."""
    default: dict[str, Any] = {"pixdim": None, "scales": {task.name: 1.0 for task in plan.regressions}}
    for key, size in DEFAULTS.items():
        default[key] = [max(size if plan.volume else 128, 2 * plan.stride)] * plan.spatial_dims
    default["encoder"] = plan.encoder
    # A bundle on the plain encoder says so itself: the zoo's checks make its network where there are no weights yet.
    kept = [*(["encoder"] if plan.encoder != "plain" else []), *seen(plan)]
    settings = {key: f"$workflow.trained_with(@checkpoint, '{key}', {default[key]!r})" for key in kept}
    return {"encoder": plan.encoder, **settings}


def inference_config(plan: Plan) -> dict[str, Any]:
    """The configuration that predicts; its network gives one tensor."""
    used = ("copy", "losses", "metrics", "item")
    return {
        "imports": [line for line in IMPORTS if line.split()[-1] not in used],
        "bundle_root": "$workflow.bundle_root()",
        "dataset_dir": f"${phantom_cohort(plan)}",
        "split": None,
        "output_dir": "$@bundle_root + '/eval'",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "load_pretrain": True,
        "architecture": plan.architecture,
        "task": None,
        "run_name": "$'_'.join([@architecture, *([@task] if @task else [])])",
        "checkpoint": LOADED,
        **trained_settings(plan),
        "normalisation": steps.normalisation(),
        **names_of_channels(plan),
        **_displayed(plan),
        "tasks": plan.task_list,
        "network_def": plan.network_def(stacked=True),
        "backend": "eager",
        "network": "$engines.inference_network(@backend, @network_def, @bundle_root + '/models', @device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                *steps.load(plan, labels=False),
                *steps.image_to_network(plan),
                {"_target_": "EnsureTyped", "keys": "image", "dtype": "$torch.float32"},
            ],
        },
        "dataset": {
            "_target_": "ctan_networks.data.ReadableCases",
            "data": f"$table.case_images(@dataset_dir, {plan.spatial_dims}, @split)",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": whole_case(plan),
        "postprocessing": {"_target_": "Compose", "transforms": _postprocessing(plan)},
        "handlers": _handlers(plan),
        "evaluator": {
            "_target_": "ctan_networks.engines.CaseByCaseEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "prepare_batch": {"_target_": "ctan_networks.engines.PrepareMultiTaskBatch", "tasks": []},
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
        "initialize": [
            "$workflow.explain_errors()",
            "$workflow.check_options()",
            "$workflow.keep_memory(2**30)",
            "@bundle_root",
        ],
        "run": [
            "$workflow.warn_of_phantoms(cases.is_phantom(@dataset#data))",
            "$workflow.warn_of_phantom_weights(@checkpoint, @bundle_root)",
            "$workflow.require_output(@output_dir)",
            "$@evaluator.run()",
        ],
    }


def _displayed(plan: Plan) -> dict[str, Any]:
    """What a client of MONAI Label can ask for as the volume."""
    if len(plan.dense) < 2:
        return {}
    return {"displayable_configs": {"return_volume": list(_volumes(plan))}}


def _volumes(plan: Plan) -> dict[str, str]:
    """Volumes of one channel that a viewer can show: label maps first."""
    painted = {task.name: _painted(task.name) for task in plan.segmentations}
    return painted | {task.name: f"predicted_{task.name}" for task in plan.regressions if task.channels == 1}


def _painted(task: str) -> str:
    return f"painted_{task}"


def _postprocessing(plan: Plan) -> list[dict[str, Any]]:
    missing = {"allow_missing_keys": True}
    done: list[dict[str, Any]] = [
        steps.split_outputs(),
        *steps.activate(plan),
        *steps.scale_maps(plan),
        *steps.invert(plan, "@preprocessing"),
    ]
    for task in plan.segmentations:
        order = f"$list(@structures['{task.name}'])"
        done.append(
            {
                "_target_": "ctan_networks.transforms.LabelMapd",
                "keys": f"predicted_{task.name}",
                "names": _painted(task.name),
                "structures": order,
                "painting_order": order,
                **missing,
            }
        )
    if plan.dense:
        done.append(_save_volumes(plan) if plan.volume else _save_pictures(plan))
    if plan.classifications:
        done.append(
            {
                "_target_": "ctan_networks.transforms.ProbabilitySummaryd",
                "keys": [f"predicted_{task.name}" for task in plan.classifications],
                "classes": "$list(@classes.values())",
                **missing,
            }
        )
    done.append(
        {
            "_target_": "ctan_networks.transforms.SaveSummaryd",
            "output_dir": "@output_dir",
            "checkpoint": "@checkpoint",
            "bundle_root": "@bundle_root",
        }
    )
    answer: dict[str, Any] = {"_target_": "ctan_networks.tools.monai_label.answer.AnswerMONAILabeld"}
    if _volumes(plan):
        answer["volumes"] = _volumes(plan)
    if "displayable_configs" in _displayed(plan):
        answer["which"] = "@displayable_configs#return_volume"
    return [*done, answer]


def _save_volumes(plan: Plan) -> dict[str, Any]:
    files: list[tuple[str, str, str]] = []
    for task in plan.dense:
        if task.kind == "regression":
            files.append((f"predicted_{task.name}", task.name, "float32"))
            continue
        files.append((_painted(task.name), task.name, "uint8"))
        if task.channels > 1:
            files.append((f"predicted_{task.name}", f"{task.name}_structures", "uint8"))
    keys, postfixes, dtypes = (list(column) for column in zip(*files, strict=True))
    return {
        "_target_": "ctan_networks.transforms.SaveCased",
        "keys": keys,
        "output_dir": "@output_dir",
        "postfixes": postfixes,
        "dtypes": dtypes,
        "allow_missing_keys": True,
    }


def _save_pictures(plan: Plan) -> dict[str, Any]:
    step: dict[str, Any] = {
        "_target_": "ctan_networks.transforms.SavePicturesd",
        "keys": [f"predicted_{task.name}" for task in plan.dense],
        "output_dir": "@output_dir",
    }
    if plan.segmentations:
        step["structures"] = "@structures"
    return {**step, "allow_missing_keys": True}


def _handlers(plan: Plan) -> list[dict[str, Any]]:
    handlers: list[dict[str, Any]] = [
        {
            "_target_": "ctan_networks.handlers.WeightsCheckpointLoader",
            "_disabled_": "$not @load_pretrain or @backend not in ('eager', 'compile')",
            "load_path": "@checkpoint",
            "load_dict": {"model": "@network"},
            "map_location": "@device",
        }
    ]
    if plan.classifications:
        handlers.append(
            {
                "_target_": "ctan_networks.handlers.ProbabilityTable",
                "_disabled_": "$not workflow.for_tasks(@classes, @network_def.tasks)",
                "path": "$@output_dir + '/probabilities.csv'",
                "tasks": "$workflow.for_tasks(@classes, @network_def.tasks)",
            }
        )
    return handlers
