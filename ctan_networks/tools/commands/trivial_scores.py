# SPDX-License-Identifier: Apache-2.0
"""What predictors score that know nothing of the patient: the zero of any claim."""

from __future__ import annotations

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged

from ctan_networks.datasets.openkbp.data_list import openkbp_list
from ctan_networks.datasets.openkbp.files import GRID, STRUCTURES, read_sparse_csv
from ctan_networks.datasets.openkbp.reader import OpenKBPReader
from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.metrics.dose_score import DoseScore
from ctan_networks.radiotherapy.metrics.dvh import DVHScore
from ctan_networks.transforms import UnpackStructuresd

__all__ = ["trivial_scores"]


def trivial_scores(dataset_dir: str, train_split: str = "train", split: str = "validation") -> dict[str, float]:
    """Dose score and DVH score (Gy) on OpenKBP of no dose at all and of the voxel-wise mean of the training doses.

    The mean of a voxel is over the training patients in whom dose is possible there. Its dose score is
    ``trivial_dose_score`` in the bundle's recipes.

    Args:
        dataset_dir: OpenKBP's ``provided-data`` folder.
        train_split: split that the mean is taken over.
        split: split that is scored.

    """
    train = [item for item in openkbp_list(dataset_dir, train_split) if {"dose", "mask"} <= item.keys()]
    if not train:
        raise DataError(f"no patient in {train_split} of {dataset_dir} has a dose and a possible_dose_mask.")
    total, count = np.zeros(GRID), np.zeros(GRID)
    for item in train:
        total += read_sparse_csv(item["dose"], values=True).reshape(GRID)
        count += read_sparse_csv(item["mask"], values=False).reshape(GRID)
    predictions = {"zero": np.zeros(GRID), "mean_training_dose": total / np.maximum(count, 1)}
    keys = {"dose_key": "dose", "mask_key": "mask"}
    scores = {
        name: (DoseScore(**keys), DVHScore(STRUCTURES, structures_key="segmentation", **keys)) for name in predictions
    }
    load = Compose(
        [
            LoadImaged(["dose", "mask", "segmentation"], reader=OpenKBPReader(), image_only=True),  # type: ignore[arg-type]
            EnsureChannelFirstd(["dose", "mask", "segmentation"]),
            UnpackStructuresd("segmentation", dict.fromkeys(STRUCTURES, "unknown")),
        ]
    )
    for item in openkbp_list(dataset_dir, split):
        case = load(item)
        for name, array in predictions.items():
            predicted = MetaTensor(torch.from_numpy(array)[None], affine=case["dose"].affine)
            for metric in scores[name]:
                metric([predicted], [case])
    return {
        f"{name}_{kind}": round(float(metric.aggregate()), 2)
        for name, pair in scores.items()
        for kind, metric in zip(("dose_score", "dvh_score"), pair, strict=True)
    }
