# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import Counter
from hashlib import sha256
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from ctan_networks.data.phantom_marker import is_phantom
from ctan_networks.datasets.table.data_list import case_table
from ctan_networks.datasets.table.phantoms import task_cohort
from ctan_networks.errors import ConfigError, DataError

TASKS = {
    "seg": {"kind": "segmentation", "out_channels": 3},
    "one": {"kind": "segmentation", "out_channels": 1},
    "heat": {"kind": "regression", "out_channels": 2},
    "grade": {"kind": "classification", "out_channels": 3},
    "side": {"kind": "classification", "out_channels": 2},
}
CLASSES = {"grade": ["low", "mid", "high"], "side": ["0", "1"]}


def digest(folder: Path) -> str:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return sha256(b"".join(str(f.relative_to(folder)).encode() + f.read_bytes() for f in files)).hexdigest()


@pytest.fixture(scope="module", params=[2, 3])
def cohort(request, tmp_path_factory) -> tuple[int, Path]:
    root = tmp_path_factory.mktemp("cohort")
    dims = request.param
    return dims, Path(task_cohort(root, TASKS, dims, 1 if dims == 2 else 2, CLASSES, cases=30))


def test_the_list_names_balanced_parts_and_some_unknown_labels(cohort):
    items = case_table(cohort[1], TASKS, CLASSES)
    assert is_phantom(items[:1])
    assert Counter(item["split"] for item in items) == {"train": 18, "validation": 6, "test": 6}
    for task, spec in TASKS.items():
        if spec["kind"] == "classification":
            drawn = Counter(item[task] for item in items if item["split"] == "test")
            assert set(drawn.values()) == {6 // spec["out_channels"]}
    unknown = [item for item in items if any(task not in item for task in TASKS)]
    assert unknown and all(item["split"] == "train" for item in unknown)


def test_what_is_to_be_learnt_can_be_seen(cohort):
    dims, file = cohort
    items = [item for item in case_table(file, TASKS, CLASSES) if all(task in item for task in TASKS)]
    brightness: dict[int, list[float]] = {}
    stretched: dict[int, list[float]] = {}
    for item in items:
        image, seg, one, heat = (read(item[key]) for key in ("image", "seg", "one", "heat"))
        assert image.shape[:dims] == seg.shape == one.shape == heat.shape[:-1] and heat.shape[-1] == 2
        assert set(np.unique(seg)) <= {0, 1, 2, 3} and len(np.unique(one)) <= 2
        first = image[..., 0] if image.ndim > dims else image
        first = (first - first.mean()) / first.std()
        for k in (1, 2, 3):
            if (seg == k).sum() > 20:
                brightness.setdefault(k, []).append(first[seg == k].mean())
        # How much the background changes from a voxel to the next but one along x; pictures are stored as [y, x].
        axis = 0 if dims == 3 else 1
        outside = (seg == 0) & (one == 0)
        near, far = (np.moveaxis(values, axis, 0) for values in (first, outside))
        pairs = far[2:] & far[1:-1] & far[:-2]
        change = np.abs(near[2:] - near[:-2])[pairs].mean()
        stretched.setdefault(item["grade"], []).append(change / first[outside].std())
        # The map is highest in the first structure and fades with the distance to it.
        if (seg == 1).any():
            assert heat[..., 0][seg == 1].min() > heat[..., 0][seg != 1].max() - 1e-6
    means = [np.mean(brightness[k]) for k in (1, 2, 3)]
    assert means == sorted(means) and means[2] - means[0] > 0.5
    changes = [np.mean(stretched[k]) for k in range(3)]
    assert changes == sorted(changes, reverse=True) and changes[0] > 1.5 * changes[2]


def read(path: str) -> np.ndarray:
    if path.endswith(".nii.gz"):
        return nib.load(path).get_fdata()
    return np.load(path) if path.endswith(".npy") else np.asarray(Image.open(path)).astype(float)


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    files = [Path(task_cohort(tmp_path / str(k), TASKS, 3, 1, CLASSES, 5, seed=k // 2)) for k in range(3)]
    assert digest(files[0].parent) == digest(files[1].parent) != digest(files[2].parent)


def test_a_cohort_is_not_written_over_data_and_wrong_numbers_are_refused(tmp_path):
    (tmp_path / "cohort").mkdir()
    (tmp_path / "cohort" / "mine.txt").touch()
    with pytest.raises(DataError, match="not overwritten"):
        task_cohort(tmp_path, TASKS, 3)
    for options in ({"cases": 2}, {"spatial_dims": 4}, {"spatial_dims": 2, "in_channels": 2}):
        with pytest.raises(ConfigError, match="at least 5 cases"):
            task_cohort(tmp_path / "b", **({"tasks": TASKS, "spatial_dims": 3} | options))
