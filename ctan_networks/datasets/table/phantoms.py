# SPDX-License-Identifier: Apache-2.0
"""Phantoms for any list of tasks: what is to be learnt can be seen in the image.

Structures are bright blobs, each with a brightness of its own; a regression's map glows round a blob and fades with the
distance; a class is how far the background's texture is stretched, along another axis for each task (more tasks than
axes: how many short bright lines run through the image).
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image
from scipy import ndimage

from ctan_networks.data.phantom_cohort import write_cohort
from ctan_networks.errors import ConfigError
from ctan_networks.utils import derive_seed

__all__ = ["task_cohort"]

VERSION = 2
LIST = "cases.csv"
SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}
# The smallest sides; a case adds up to GROWTH - 1 to each.
SIZES = {2: (60, 52), 3: (30, 28, 26)}
GROWTH = 7
SPACING = (1.5, 1.5, 2.0)
# Smoothing of the background in voxels: of the first class and of the last.
FINE, COARSE = 1.0, 5.0
# Of each class's short lines: share of the voxels where one begins (none: the first class), length, brightness.
MOST_LINES, LENGTH, BRIGHT = 0.035, 3, 4.0
# How often a label is unknown, and a structure is not there.
UNKNOWN, LACKING = 0.1, 0.08
# Grey values of a picture: mean and step of one deviation of the background.
GREY = (90.0, 18.0)


def task_cohort(
    root: str | os.PathLike,
    tasks: Mapping[str, Mapping[str, Any]],
    spatial_dims: int,
    in_channels: int = 1,
    classes: Mapping[str, Sequence[str]] | None = None,
    cases: int = 40,
    seed: int = 0,
) -> str:
    """Write a phantom cohort with its list, unless it is there already.

    ``cases.csv`` (case, image, one column a task, group, split) beside ``images/`` and a folder a dense task: volumes
    ``.nii.gz``, or pictures ``.png`` with maps of numbers as ``.npy``. Some training cases lack a label. The same
    arguments give the same bytes. A cohort is there whole or not at all, and is marked by ``PHANTOM.json``.

    Args:
        root: folder in which ``cohort`` is written.
        tasks: the task list.
        spatial_dims: 2 or 3.
        in_channels: of the images; 1 or 3 in 2D.
        classes: classification task to the names of its classes.
        cases: number of cases.
        seed: seed; each case draws from (seed, number).

    Returns:
        The path of ``cases.csv``.

    Raises:
        ConfigError: when there are fewer than five cases, or an argument cannot be used.
        DataError: when the folder is there and no phantom: it is never overwritten.

    """
    if cases < 5 or spatial_dims not in SIZES or (spatial_dims == 2 and in_channels not in (1, 3)):
        raise ConfigError("a cohort has at least 5 cases of 2 or 3 dimensions; pictures have 1 or 3 channels.")
    target = Path(os.path.abspath(root)) / "cohort"
    plain = {name: dict(spec) for name, spec in tasks.items()}
    names = {task: list(given) for task, given in (classes or {}).items()}
    details = {"data_set": "tasks", "version": VERSION, "tasks": plain, "classes": names, "seed": seed}
    details |= {"spatial_dims": spatial_dims, "in_channels": in_channels, "cases": cases}

    def write(folder: Path) -> None:
        rows = _plan(plain, cases, seed)
        for number, row in enumerate(rows):
            rng = np.random.default_rng(derive_seed("tasks", seed, number))
            _write_case(folder, row, _Case(rng, plain, row, spatial_dims), plain, in_channels, rng)
            for task, given in names.items():
                row[task] = given[row[task]]
            for task in row.pop("unknown"):
                row[task] = ""
        with open(folder / LIST, "w", newline="") as file:
            writer = csv.DictWriter(file, ["case", "image", *plain, "group", "split"], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    write_cohort(target, details, [LIST, "images"], write)
    return str(target / LIST)


def _plan(tasks: Mapping[str, Mapping[str, Any]], cases: int, seed: int) -> list[dict[str, Any]]:
    """Name, part and classes of each case, as many of each class in each part as whole cases allow."""
    rng = np.random.default_rng(derive_seed("tasks", seed, "plan"))
    ends = np.rint(np.cumsum(list(SHARES.values())) * cases).astype(int)
    rows: list[dict[str, Any]] = []
    for part, count in zip(SHARES, np.diff(ends, prepend=0).tolist(), strict=True):
        drawn = {t: rng.permutation(np.arange(count) % s["out_channels"]).tolist() for t, s in _of(tasks).items()}
        for k in range(count):
            name = f"case_{len(rows) + 1:03d}"
            # The first case of each part has all labels.
            unknown = [t for t in tasks if rng.random() < UNKNOWN and part == "train" and k > 0]
            unknown = unknown if len(unknown) < len(tasks) else []
            row = {"case": name, "group": f"patient_{len(rows) + 1:03d}", "split": part, "unknown": unknown}
            rows.append(row | {task: drawn[task][k] for task in drawn})
    return rows


def _of(tasks: Mapping[str, Mapping[str, Any]], kind: str = "classification") -> dict[str, Mapping[str, Any]]:
    return {name: spec for name, spec in tasks.items() if spec["kind"] == kind}


class _Case:
    """Image (background of mean 0 and deviation 1) and labels of one case, axes (x, y, z)."""

    def __init__(
        self, rng: np.random.Generator, tasks: Mapping[str, Mapping[str, Any]], row: Mapping[str, Any], dims: int
    ) -> None:
        self.shape = tuple(int(side + rng.integers(GROWTH)) for side in SIZES[dims])
        # Of each task its class, from 0 to 1.
        rank = [row[task] / (spec["out_channels"] - 1) for task, spec in _of(tasks).items()]
        smoothing = [FINE + (COARSE - FINE) * value for value in rank[:dims]] + [FINE] * (dims - len(rank))
        noise = ndimage.gaussian_filter(rng.standard_normal(self.shape), smoothing)
        self.image = noise / noise.std()
        for number, value in enumerate(rank[dims:]):
            size = [LENGTH if axis == number % dims else 1 for axis in range(dims)]
            lines = ndimage.maximum_filter(rng.random(self.shape) < MOST_LINES * value, size=size)
            self.image[lines] = BRIGHT
        masks = _of(tasks, "segmentation")
        blobs = self._draw_blobs(rng, max(2, sum(spec["out_channels"] for spec in masks.values())), bool(masks))
        self.labels: dict[str, np.ndarray] = {}
        first = 0
        for task, spec in masks.items():
            label = np.zeros(self.shape, np.uint8)
            for k in range(spec["out_channels"]):
                label[blobs[first + k]] = k + 1
            self.labels[task] = label
            first += spec["out_channels"]
        for task, spec in _of(tasks, "regression").items():
            glow = [self._glow(blobs[k % len(blobs)]) for k in range(spec["out_channels"])]
            self.labels[task] = np.stack(glow, -1).astype(np.float32)
        self.image += rng.normal(0, 0.2, self.shape)

    def _draw_blobs(self, rng: np.random.Generator, count: int, may_lack: bool) -> list[np.ndarray]:
        """Masks of ellipsoids; now and then one is not there. They are painted into the image."""
        axes = np.meshgrid(*[np.linspace(-1, 1, side) for side in self.shape], indexing="ij")
        blobs: list[np.ndarray] = []
        for brightness in np.linspace(3.0, 7.0, count):
            centre, radii = rng.uniform(-0.45, 0.45, len(axes)), rng.uniform(0.4, 0.6, len(axes))
            away = sum(((a - c) / r) ** 2 for a, c, r in zip(axes, centre, radii, strict=True))
            lacks = rng.random() < LACKING
            inside = np.zeros(self.shape, bool) if may_lack and lacks else away < 1
            self.image[inside] = brightness + 0.3 * self.image[inside]
            # What lies on top is seen.
            blobs = [below & ~inside for below in blobs] + [inside]
        return blobs

    def _glow(self, blob: np.ndarray) -> np.ndarray:
        """1 inside the blob, fading outside; 0 where there is none."""
        if not blob.any():
            return np.zeros(blob.shape)
        return np.exp(-ndimage.distance_transform_edt(~blob) / (0.15 * max(blob.shape)))


def _write_case(
    folder: Path,
    row: dict[str, Any],
    case: _Case,
    tasks: Mapping[str, Mapping[str, Any]],
    in_channels: int,
    rng: np.random.Generator,
) -> None:
    contrast = rng.uniform(0.8, 1.2, in_channels)
    image = np.stack([case.image * c + rng.normal(0, 0.05, case.shape) for c in contrast], -1)
    name = row["case"]
    flat = len(case.shape) == 2
    files = {"image": ("images", image), **{task: (task, label) for task, label in case.labels.items()}}
    for column, (place, values) in files.items():
        (folder / place).mkdir(exist_ok=True)
        if not flat:
            file = f"{place}/{name}.nii.gz"
            kind = np.uint8 if values.dtype == np.uint8 else np.float32
            values = values[..., 0] if values.ndim == 4 and values.shape[-1] == 1 else values
            nib.save(nib.Nifti1Image(values.astype(kind), np.diag([*SPACING, 1.0])), folder / file)
        elif values.dtype == np.float32:
            file = f"{place}/{name}.npy"
            np.save(folder / file, np.swapaxes(values, 0, 1))
        else:
            file = f"{place}/{name}.png"
            _save_picture(folder / file, values, column == "image", tasks.get(column, {}).get("out_channels", 0))
        row[column] = file


def _save_picture(path: Path, values: np.ndarray, is_image: bool, structures: int) -> None:
    if is_image:
        values = np.clip(np.rint(GREY[0] + GREY[1] * values), 0, 255).astype(np.uint8)
        values = values[..., 0] if values.shape[-1] == 1 else values
    elif structures == 1:
        # A mask as viewers show it; of several structures a map.
        values = values * np.uint8(255)
    Image.fromarray(np.ascontiguousarray(np.swapaxes(values, 0, 1))).save(path)
