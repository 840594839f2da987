# SPDX-License-Identifier: Apache-2.0
"""``metadata.json`` of a new bundle."""

from __future__ import annotations

from typing import Any

from ctan_networks import __version__
from ctan_networks.tools.authoring.plan import Plan

__all__ = ["describe_tasks", "metadata"]

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
# The newest that install on Python 3.10, which Model Zoo's CI runs, and that this package is tested with.
VERSIONS = {"monai_version": "1.6.1", "pytorch_version": "2.13.0", "numpy_version": "2.2.6"}
PACKAGES = {
    "pytorch-ignite": "0.5.5",
    "scipy": "1.15.3",
    "pandas": "2.3.3",
    "fire": "0.7.1",
    "tensorboard": "2.21.0",
    "tqdm": "4.70.1",
    "matplotlib": "3.10.9",
    "filelock": "4.2.11",
    "jinja2": "3.1.6",
    "scikit-learn": "1.7.2",
    "nibabel": "5.4.2",
    "pydicom": "3.0.2",
    "pillow": "12.3.0",
}
CTAN = (
    "Kim S., Purdie T.G., McIntosh C. Cross-Task Attention Network: Improving Multi-Task Learning for Medical Imaging"
    " Applications. MICCAI 2023 Workshops, LNCS. https://doi.org/10.1007/978-3-031-47401-9_12"
)


def metadata(plan: Plan) -> dict[str, Any]:
    """What the bundle is, by MONAI's schema; the author completes it."""
    files = "NIfTI, MHA, NRRD or DICOM" if plan.volume else "JPEG, PNG, BMP or TIFF"
    what = describe_tasks(plan)
    return {
        "schema": SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": "first version"},
        **VERSIONS,
        "required_packages_version": {"ctan-networks": __version__, **PACKAGES},
        "supported_apps": {},
        "name": plan.title,
        "task": what,
        "description": f"A multi-task network ({plan.architecture.upper()} of ctan-networks) for: {what}.",
        "authors": "to be filled in",
        "copyright": "to be filled in",
        "data_source": "to be filled in",
        "data_type": f"{'volumes' if plan.volume else 'pictures'} ({files})",
        "image_classes": f"{plan.in_channels} channels, each normalised to mean 0 and deviation 1",
        "label_classes": what,
        "pred_classes": f"{len(channel_names(plan))} channels: {', '.join(channel_names(plan).values())}",
        "intended_use": "Research on multi-task learning. Not a medical device; not for clinical use.",
        "eval_metrics": {},
        "references": [CTAN],
        "network_data_format": _formats(plan),
    }


def describe_tasks(plan: Plan) -> str:
    """The tasks in words."""
    words = []
    for task in plan.tasks:
        listed = f" ({', '.join(task.names)})" if task.names else f" ({task.channels} channels)"
        kind = {"segmentation": "segmentation of", "regression": "map of", "classification": "classification of"}
        words.append(f"{kind[task.kind]} {task.name}{listed}")
    return "; ".join(words)


def channel_names(plan: Plan) -> dict[str, str]:
    """Each channel of the stacked output, as :py:mod:`ctan_networks.blocks.stacking` orders them."""
    names = ["background"] if plan.segmentations else []
    for kind in ("segmentation", "regression", "classification"):
        for task in plan.of_kind(kind):
            own = task.names or [str(k) for k in range(task.channels)]
            several = task.channels > 1 or kind == "classification"
            # Two segmentations may each have a "structure_1".
            plain = kind == "segmentation" and len(plan.segmentations) == 1
            names += [name if plain else f"{task.name} {name}" if several else task.name for name in own]
    return {str(k): name for k, name in enumerate(names)}


def _formats(plan: Plan) -> dict[str, Any]:
    # Two positions a side at the bottleneck.
    side = f"{2 * plan.stride}*n"
    shape = [side] * plan.spatial_dims
    image = {
        "type": "image",
        "format": "magnitude" if plan.volume or plan.in_channels == 1 else "RGB",
        "num_channels": plan.in_channels,
        "spatial_shape": shape,
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": plan.sliding,
        "channel_def": {str(k): "image" if plan.in_channels == 1 else f"channel {k}" for k in range(plan.in_channels)},
    }
    count = len(channel_names(plan))
    stacked: dict[str, Any] = {
        "type": "image" if plan.dense else "probabilities",
        "format": "segmentation" if plan.segmentations else "image" if plan.dense else "classes",
        "num_channels": count,
        "spatial_shape": shape if plan.dense else [1, count],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": plan.sliding,
    }
    if plan.segmentations:
        # MONAI Label takes each entry for a label of the volume that it is given: the first task's label map.
        stacked["channel_def"] = {str(k): name for k, name in enumerate(["background", *plan.segmentations[0].names])}
    after: dict[str, Any] = {}
    for task in plan.tasks:
        own = dict(enumerate(task.names or [str(k) for k in range(task.channels)]))
        after[f"predicted_{task.name}"] = {
            "type": "image" if task.dense else "probabilities",
            "format": {"segmentation": "segmentation", "regression": "image", "classification": "classes"}[task.kind],
            "num_channels": task.channels,
            "spatial_shape": ["*"] * plan.spatial_dims if task.dense else [1, task.channels],
            "dtype": "uint8" if task.kind == "segmentation" else "float32",
            "value_range": [] if task.kind == "regression" else [0, 1],
            "is_patch_data": False,
            "channel_def": {str(k): name for k, name in own.items()},
        }
    return {"inputs": {"image": image}, "outputs": {"pred": stacked}, "post_processed_outputs": after}
