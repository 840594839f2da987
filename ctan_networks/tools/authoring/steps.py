# SPDX-License-Identifier: Apache-2.0
"""The transforms of a bundle's configurations, one function a step; training, evaluation and inference share them."""

from __future__ import annotations

from typing import Any

from ctan_networks.tools.authoring.plan import Plan

__all__ = [
    "activate",
    "augment",
    "cast",
    "check_labels",
    "complete",
    "crop",
    "image_to_network",
    "invert",
    "load",
    "normalisation",
    "on_grid",
    "resize",
    "scale_maps",
    "split_outputs",
    "spread",
]

Step = dict[str, Any]
OURS = "ctan_networks.transforms"


def names(plan: Plan, image: bool = True, kind: str | None = None) -> list[str]:
    """Keys of the image and of the dense tasks, or of those of one kind."""
    return [*(["image"] if image else []), *(t.name for t in plan.dense if kind in (None, t.kind))]


def keys(listed: list[str]) -> str | list[str]:
    """A single key as a word."""
    return listed[0] if len(listed) == 1 else listed


def optional(step: Step, listed: list[str]) -> Step:
    """The step, for labels that a case may lack."""
    return step if listed == ["image"] else {**step, "allow_missing_keys": True}


def load(plan: Plan, labels: bool) -> list[Step]:
    """Read files and put channels first."""
    reader: Step = {"_target_": "ctan_networks.datasets.table.TaskReader", "spatial_dims": plan.spatial_dims}
    image = {**reader, "channels": plan.in_channels}
    steps: list[Step] = [{"_target_": "LoadImaged", "keys": "image", "reader": image, "image_only": True}]
    dense = names(plan, image=False)
    for listed, own in _label_readers(plan) if labels else ():
        step = {"_target_": "LoadImaged", "keys": keys(listed), "reader": {**reader, **own}, "image_only": True}
        steps.append(optional(step, listed))
    every = names(plan) if labels else ["image"]
    steps.append(optional({"_target_": "EnsureChannelFirstd", "keys": keys(every)}, every))
    if labels and dense and not plan.volume:
        steps.append(optional({"_target_": f"{OURS}.TurnMasksd", "keys": keys(dense)}, dense))
    return steps


def _label_readers(plan: Plan) -> list[tuple[list[str], Step]]:
    """Dense tasks that are read in the same way, and how: pictures of masks are other than pictures of values."""
    if plan.volume:
        return [(names(plan, image=False), {})] if plan.dense else []
    masks = [([task.name], {"structures": task.channels}) for task in plan.segmentations]
    maps = names(plan, False, "regression")
    return [*masks, *([(maps, {})] if maps else [])]


def check_labels(plan: Plan) -> list[Step]:
    """Refuse labels on another grid than the image."""
    if not plan.dense:
        return []
    channels: dict[str, Any] = {
        t.name: t.channels if t.kind == "regression" or t.channels == 1 else [1, t.channels] for t in plan.dense
    }
    dense = names(plan, image=False)
    return [optional({"_target_": f"{OURS}.CheckLabelsd", "keys": keys(dense), "channels": channels}, dense)]


def on_grid(plan: Plan, labels: bool, inference: bool = False) -> list[Step]:
    """Volumes: axes to right, anterior, superior, and to the voxel size asked for."""
    if not plan.volume:
        return []
    every = names(plan) if labels else ["image"]
    modes = ["bilinear" if key not in names(plan, False, "segmentation") else "nearest" for key in every]
    return [
        optional({"_target_": "Orientationd", "keys": keys(every), "axcodes": "RAS", "labels": None}, every),
        optional(
            {
                "_target_": f"{OURS}.KeepKeysSpacingd" if inference else "Spacingd",
                "_disabled_": "$@pixdim is None",
                "keys": keys(every),
                "pixdim": "@pixdim",
                "mode": keys(modes),
            },
            every,
        ),
    ]


def resize(plan: Plan, labels: bool) -> list[Step]:
    """Whole cases to one size, where the network sees whole cases."""
    if plan.sliding:
        return []
    every = names(plan) if labels else ["image"]
    how = {"segmentation": "nearest-exact", "regression": "bilinear"}
    kinds = {task.name: task.kind for task in plan.tasks}
    modes = ["area" if key == "image" else how[kinds[key]] for key in every]
    step = {"_target_": "Resized", "keys": keys(every), "spatial_size": "@image_size", "mode": keys(modes)}
    return [optional(step, every)]


def normalisation() -> Step:
    """The top-level entry ``normalisation``."""
    step = {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": False, "channel_wise": True}
    return {"_target_": f"{OURS}.NotInverted", "transform": step}


def image_to_network(plan: Plan) -> list[Step]:
    """From an image as it was read to the network: the same steps in evaluation and inference."""
    return [
        *on_grid(plan, labels=False, inference=True),
        *resize(plan, labels=False),
        "@normalisation",  # type: ignore[list-item]
        # As the cache of training and evaluation keeps it.
        {"_target_": "CastToTyped", "keys": "image", "dtype": "$torch.float16"},
    ]


def cast(plan: Plan) -> list[Step]:
    """What is kept in the cache takes little room there; label maps and NaN are exact in half precision."""
    half = ["image", *names(plan, False, "segmentation")]
    step = {"_target_": "CastToTyped", "keys": keys(half), "dtype": "$torch.float16"}
    return [optional(step, half), {"_target_": f"{OURS}.CacheBoundary"}]


def spread(plan: Plan, training: bool) -> list[Step]:
    """Back to full precision, and one channel a structure."""
    every = names(plan)
    steps = [
        optional(
            {
                "_target_": "EnsureTyped",
                "keys": keys(every),
                "dtype": "$torch.float32",
                **({"track_meta": False} if training else {}),
            },
            every,
        )
    ]
    masks = names(plan, False, "segmentation")
    if training and plan.sliding:
        size = {"spatial_size": "@crop_size"}
        steps.append({"_target_": "SpatialPadd", "keys": "image", **size})
        dense = names(plan, image=False)
        # Beyond the edge nothing is known.
        steps.append(optional({"_target_": "SpatialPadd", "keys": keys(dense), **size, "value": "$torch.nan"}, dense))
    if masks:
        step = {"_target_": f"{OURS}.StructureChannelsd", "keys": keys(masks), "structures": "@structures"}
        if training and plan.sliding:
            step["foreground_key"] = "foreground"
        steps.append(optional(step, masks))
    return steps


def complete(like: str = "image") -> Step:
    """Unknown labels become NaN or -1."""
    step = {"_target_": f"{OURS}.CompleteLabelsd", "tasks": "@tasks"}
    return step if like == "image" else {**step, "like": like}


def crop(plan: Plan) -> list[Step]:
    """A window of the case: half of them round a voxel of a structure, where there are structures."""
    if not plan.sliding:
        return []
    if not plan.segmentations:
        return [
            {"_target_": "RandSpatialCropd", "keys": keys(names(plan)), "roi_size": "@crop_size", "random_size": False}
        ]
    return [
        {
            "_target_": "RandCropByPosNegLabeld",
            "keys": keys(names(plan)),
            "label_key": "foreground",
            "spatial_size": "@crop_size",
            "pos": 1,
            "neg": 1,
            "num_samples": 1,
        }
    ]


def augment(plan: Plan) -> list[Step]:
    """Random changes of a training case."""
    every = names(plan)
    kinds = {task.name: task.kind for task in plan.tasks}
    steps: list[Step] = [{"_target_": "RandAxisFlipd", "keys": keys(every), "prob": "@flip_probability"}]
    if not plan.sliding:
        # A tenth of the image to each side; the border is repeated.
        steps.append(
            {
                "_target_": "RandAffined",
                "keys": keys(every),
                "prob": 0.7,
                "rotate_range": 0.2 if plan.spatial_dims == 2 else [0.1, 0.1, 0.1],
                "scale_range": 0.1 if plan.spatial_dims == 2 else [0.1, 0.1, 0.1],
                "mode": keys(["nearest" if kinds.get(key) == "segmentation" else "bilinear" for key in every]),
                "padding_mode": "border",
            }
        )
    steps += [
        {"_target_": "RandScaleIntensityd", "keys": "image", "prob": 0.3, "factors": 0.1},
        {"_target_": "RandShiftIntensityd", "keys": "image", "prob": 0.3, "offsets": 0.1},
        {"_target_": "RandGaussianNoised", "keys": "image", "prob": 0.3, "std": 0.05},
        {"_target_": "SelectItemsd", "keys": ["image", *(task.name for task in plan.tasks)]},
    ]
    return steps


def split_outputs() -> Step:
    """One key a task."""
    return {"_target_": f"{OURS}.SplitOutputsd", "keys": "pred", "tasks": "$@network_def.tasks"}


def activate(plan: Plan) -> list[Step]:
    """Logits to probabilities."""
    masks = [f"predicted_{task.name}" for task in plan.segmentations]
    grades = [f"predicted_{task.name}" for task in plan.classifications]
    if not masks + grades:
        return []
    step: Step = {"_target_": "Activationsd", "keys": keys(masks + grades)}
    if masks:
        step["sigmoid"] = [True] * len(masks) + [False] * len(grades) if grades else True
    if grades:
        step["softmax"] = [False] * len(masks) + [True] * len(grades) if masks else True
    return [{**step, "allow_missing_keys": True}]


def scale_maps(plan: Plan) -> list[Step]:
    """Maps in their own unit."""
    return [
        {
            "_target_": "ScaleIntensityd",
            "keys": f"predicted_{task.name}",
            "minv": None,
            "maxv": None,
            "factor": f"$@scales['{task.name}'] - 1",
            "allow_missing_keys": True,
        }
        for task in plan.regressions
    ]


def invert(plan: Plan, preprocessing: str) -> list[Step]:
    """Dense results back on the grid of the image's file, masks as 0 and 1."""
    if not plan.dense:
        return []
    dense = [f"predicted_{task.name}" for task in plan.dense]
    masks = [f"predicted_{task.name}" for task in plan.segmentations]
    steps: list[Step] = [
        {
            "_target_": "Invertd",
            "keys": keys(dense),
            "transform": preprocessing,
            "orig_keys": "image",
            "nearest_interp": False,
            "to_tensor": True,
            "allow_missing_keys": True,
        }
    ]
    if masks:
        steps.append({"_target_": "AsDiscreted", "keys": keys(masks), "threshold": 0.5, "allow_missing_keys": True})
    return steps
