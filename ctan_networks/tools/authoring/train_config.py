# SPDX-License-Identifier: Apache-2.0
"""``train.json`` of a new bundle."""

from __future__ import annotations

from typing import Any

from ctan_networks.tools.authoring import steps
from ctan_networks.tools.authoring.plan import Plan
from ctan_networks.tools.authoring.shared import IMPORTS, dataset, names_of_channels, phantom_cohort, seen, tensorboard
from ctan_networks.tools.authoring.validate_config import validate_config

__all__ = ["train_config"]

# Of each recipe, what does not depend on how a case is brought to the network.
RECIPES: dict[str, dict[str, Any]] = {
    "phantom": {"learning_rate": 0.002, "average_decay": 0.95, "val_interval": 10, "num_workers": 1, "amp": False},
    "cpu": {
        "learning_rate": 0.001,
        "average_decay": 0.995,
        "val_interval": 5,
        "num_workers": 1,
        "amp": "$engines.fast_bfloat16()",
    },
    "gpu": {"learning_rate": 0.001, "average_decay": 0.998, "val_interval": 10, "num_workers": 8, "amp": True},
}
SIZES = {"phantom": (32, 64), "cpu": (64, 128), "gpu": (96, 256)}
# For windows of volumes, whole volumes, pictures.
EPOCHS = {"phantom": (30, 40, 60), "cpu": (50, 50, 50), "gpu": (300, 300, 300)}
BATCH = {"phantom": (4, 4, 4), "cpu": (2, 4, 16), "gpu": (2, 8, 32)}


def train_config(plan: Plan) -> dict[str, Any]:
    """The configuration as nested dictionaries, in the order in which it is to be read."""
    return {
        "imports": IMPORTS,
        "bundle_root": "$workflow.bundle_root()",
        "dataset_dir": f"$'' if workflow.data_given() else {phantom_cohort(plan)}",
        "split": "validation",
        "cache_dir": "$@bundle_root + '/cache'",
        "items": "$workflow.data_given() or table.case_table(@dataset_dir, @tasks, @classes)",
        "phantom": "$cases.is_phantom(@items)",
        "run_name": "$'_'.join(['phantom' if @phantom else 'patients', @architecture, *([@task] if @task else [])])",
        "output_dir": "$@bundle_root + '/runs/' + @run_name",
        "split_file": "$@output_dir + '/split.csv'",
        "fractions": {"train": 0.7, "validation": 0.15, "test": 0.15},
        "split_seed": 0,
        "folds": None,
        "fold": 0,
        "parts": _parts(plan),
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "is_not_rank0": "$engines.is_not_rank0()",
        "seed": 0,
        "resume": False,
        "on_nonfinite": "stop",
        "keep": "best",
        "publish": False,
        "steps_per_epoch": None,
        "architecture": plan.architecture,
        "task": None,
        "encoder": plan.encoder,
        "encoder_weights": None,
        "encoder_learning_rate": None,
        "freeze_encoder": 0,
        "drop_path": None,
        "weighting": "equal",
        **_recipes(plan),
        **({"pixdim": None} if plan.volume else {}),
        "normalisation": steps.normalisation(),
        "flip_probability": 0.5 if plan.flips else 0.0,
        **({"class_balance": 1.0} if plan.classifications else {}),
        **({"scales": {task.name: 1.0 for task in plan.regressions}} if plan.regressions else {}),
        "weight_decay": 0.0001 if plan.sliding else 0.01,
        "warmup_steps": 50,
        "total_steps": "$@train#trainer#max_epochs * len(@train#dataloader)",
        **names_of_channels(plan),
        "tasks": plan.task_list,
        "network_def": plan.network_def(
            **{key: f"@{key}" for key in ("encoder_weights", "freeze_encoder", "drop_path", "seed")}
        ),
        "scored_tasks": "$list(@network_def.tasks)",
        "network": "$@network_def.to(@device)",
        "average_network": "$copy.deepcopy(@network_def).to(@device)",
        **_optimisation(plan),
        "train": _train(plan),
        "details": _details(plan),
        "validate": validate_config(plan),
        "initialize": [
            "$workflow.explain_errors()",
            "$workflow.check_options()",
            "$workflow.keep_memory()",
            "@bundle_root",
            "$monai.utils.set_determinism(seed=@seed)",
        ],
        "run": ["$@train#trainer.run()"],
    }


def _parts(plan: Plan) -> dict[str, Any]:
    return {
        "_target_": "ctan_networks.data.case_parts",
        "items": "@items",
        "split_file": "@split_file",
        "fractions": "@fractions",
        "stratify_by": [task.name for task in plan.classifications],
        "labels": "$list(@tasks)",
        "seed": "@split_seed",
        "folds": "@folds",
        "fold": "@fold",
    }


def _recipes(plan: Plan) -> dict[str, Any]:
    size = "crop_size" if plan.sliding else "image_size"
    kind = 2 if not plan.volume else 0 if plan.sliding else 1
    recipes = {
        name: {
            "epochs": EPOCHS[name][kind],
            size: [max(SIZES[name][0 if plan.volume else 1], 2 * plan.stride)] * plan.spatial_dims,
            "batch_size": BATCH[name][kind],
            **shared,
        }
        for name, shared in RECIPES.items()
    }
    values = {key: f"$@recipe['{key}']" for key in recipes["phantom"]}
    choice = "$workflow.choose_recipe(@recipes, @phantom, torch.cuda.is_available(), @recipe_name)"
    return {"recipes": recipes, "recipe_name": None, "recipe": choice, **values}


def _optimisation(plan: Plan) -> dict[str, Any]:
    each: dict[str, Any] = {}
    for task in plan.tasks:
        if task.kind == "segmentation":
            each[task.name] = {"_target_": "ctan_networks.losses.DiceBCELoss"}
        elif task.kind == "regression":
            each[task.name] = {"_target_": "ctan_networks.losses.MaskedL1Loss", "scale": f"$@scales['{task.name}']"}
        else:
            given = f"@train#dataset.data, '{task.name}', {task.channels}, @class_balance"
            weight = f"$cases.class_weights({given})"
            each[task.name] = {"_target_": "ctan_networks.losses.MaskedCrossEntropyLoss", "weight": weight}
    return {
        "loss": {
            "_target_": "ctan_networks.losses.MultiTaskLoss",
            "losses": each,
            "weighting": "@weighting",
            "tasks": "$list(@network_def.tasks)",
        },
        "loss_on_device": "$@loss.to(@device)",
        "optimizer": {
            "_target_": "torch.optim.AdamW",
            "params": "$losses.parameter_groups(@loss_on_device, @network, @weight_decay, @encoder_learning_rate)",
            "lr": "@learning_rate",
        },
        "lr_scheduler": {
            "_target_": "monai.optimizers.WarmupCosineSchedule",
            "optimizer": "@optimizer",
            "warmup_steps": "$min(@warmup_steps, @total_steps // 3)",
            "t_total": "@total_steps",
        },
        "prepare_batch": {
            "_target_": "ctan_networks.engines.PrepareMultiTaskBatch",
            "tasks": "$list(@network_def.tasks)",
        },
    }


def _train(plan: Plan) -> dict[str, Any]:
    return {
        "deterministic_transforms": [
            *steps.load(plan, labels=True),
            *steps.check_labels(plan),
            *steps.on_grid(plan, labels=True),
            *steps.resize(plan, labels=True),
            "@normalisation",
            *steps.cast(plan),
        ],
        "random_transforms": [
            *steps.spread(plan, training=True),
            steps.complete(),
            *steps.crop(plan),
            *steps.augment(plan),
        ],
        "preprocessing": {
            "_target_": "Compose",
            "transforms": "$@train#deterministic_transforms + @train#random_transforms",
        },
        "dataset": dataset(plan, "$cases.labelled(@parts['train'], @network_def.tasks)", "@train#preprocessing"),
        "sampler": {
            "_target_": "ctan_networks.data.EpochSampler",
            "dataset": "@train#dataset",
            "seed": "@seed",
            "length": "$@steps_per_epoch * @batch_size if @steps_per_epoch else None",
        },
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@train#dataset",
            "sampler": "@train#sampler",
            "batch_size": "@batch_size",
            "num_workers": "@num_workers",
        },
        "inferer": {
            "_target_": "ctan_networks.engines.MixedPrecisionInferer",
            "inferer": {"_target_": "SimpleInferer"},
            "enabled": "@amp",
        },
        "handlers": _handlers(),
        "trainer": {
            "_target_": "SupervisedTrainer",
            "max_epochs": "@epochs",
            "device": "@device",
            "train_data_loader": "@train#dataloader",
            "network": "@network",
            "loss_function": "@loss",
            "optimizer": "@optimizer",
            "inferer": "@train#inferer",
            "prepare_batch": "@prepare_batch",
            "iteration_update": "$engines.gradient_step(@weighting)",
            "train_handlers": "@train#handlers",
            "decollate": False,
        },
    }


def _handlers() -> list[dict[str, Any]]:
    return [
        {"_target_": "ctan_networks.handlers.StepSeed", "seed": "@seed"},
        {
            "_target_": "ctan_networks.handlers.FiniteSteps",
            "network": "@network",
            "loss": "@loss",
            "action": "@on_nonfinite",
        },
        {"_target_": "ctan_networks.handlers.GradientClipping", "network": "@network", "max_norm": 5.0},
        {"_target_": "LrScheduleHandler", "lr_scheduler": "@lr_scheduler", "print_lr": False, "epoch_level": False},
        {
            "_target_": "ctan_networks.handlers.WeightAverage",
            "network": "@network",
            "average": "@average_network",
            "decay": "@average_decay",
        },
        {"_target_": "ctan_networks.handlers.Progress", "loss": "@loss"},
        {
            "_target_": "ctan_networks.handlers.TaskLosses",
            "loss": "@loss",
            "history": "$@output_dir + '/history.csv'",
            "evaluator": "@validate#evaluator",
        },
        {
            "_target_": "ValidationHandler",
            "validator": "@validate#evaluator",
            "epoch_level": True,
            "interval": "$min(@val_interval, @train#trainer#max_epochs)",
        },
        tensorboard(),
        {
            "_target_": "ctan_networks.handlers.TrainingCheckpoint",
            "output_dir": "@output_dir",
            "objects": {
                "network": "@network",
                "average_network": "@average_network",
                "loss": "@loss",
                "optimizer": "@optimizer",
                "lr_scheduler": "@lr_scheduler",
            },
            "model": "@average_network",
            "evaluator": "@validate#evaluator",
            "details": "@details",
            "resume": "@resume",
            "keep": "@keep",
        },
        {
            "_target_": "ctan_networks.handlers.PublishWeights",
            "source": "$@output_dir + '/model.pt'",
            "target": "$@bundle_root + '/models/model.pt'",
            "backup_dir": "$@output_dir + '/earlier'",
            "enabled": "$@publish or item.is_from_server(@train#dataset#data)",
        },
    ]


def _details(plan: Plan) -> dict[str, Any]:
    return {
        "phantom": "@phantom",
        "architecture": "@architecture",
        "encoder": "@encoder",
        "tasks": "$list(@network_def.tasks)",
        "weighting": "@weighting",
        "seed": "@seed",
        "epochs": "@train#trainer#max_epochs",
        "cases": "$len(@train#dataset#data)",
        **seen(plan),
        "research_use_only": True,
    }
