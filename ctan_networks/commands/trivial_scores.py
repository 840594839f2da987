# SPDX-License-Identifier: Apache-2.0
"""What predictors score that know nothing of the patient: the zero of any claim."""

from __future__ import annotations

import numpy as np
import torch

from ctan_networks.data import openkbp_list
from ctan_networks.data.openkbp import GRID, STRUCTURES, read_sparse_csv
from ctan_networks.data.openkbp_reader import OpenKBPReader
from ctan_networks.errors import DataError
from ctan_networks.metrics import DoseScore, DVHScore
from ctan_networks.transforms import UnpackStructuresd

__all__ = ["trivial_scores"]


def trivial_scores(dataset_dir: str, train_split: str = "train", split: str = "validation") -> dict[str, float]:
    """Dose score and DVH score (Gy) on OpenKBP of no dose at all and of the voxel-wise mean of the training doses.

    The mean of a voxel is over the training patients in whom dose is possible there.

    The dose score of the mean is ``trivial_dose_score`` in the bundle's recipes.

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
    scores = {name: (DoseScore(), DVHScore(STRUCTURES)) for name in predictions}
    reader = OpenKBPReader()
    unpack = UnpackStructuresd("structures", {s: "empty" if s.startswith("PTV") else "unknown" for s in STRUCTURES})
    for item in openkbp_list(dataset_dir, split):
        dose, meta = reader.get_data(reader.read(item["dose"]))
        mask, _ = reader.get_data(reader.read(item["mask"]))
        bits, present = reader.get_data(reader.read(item["segmentation"]))
        structures = unpack({"structures": torch.from_numpy(bits)[None]})["structures"]
        unknown = [k for k, there in enumerate(present["present"]) if not there]
        structures[unknown] = torch.nan
        spacing = np.abs(meta["affine"][:3, :3]).sum(0)
        reference = {"mask": [torch.from_numpy(mask)[None]]}
        for name, array in predictions.items():
            predicted = [torch.from_numpy(array)[None]]
            labels = [torch.from_numpy(dose)[None].double()]
            scores[name][0](predicted, labels, **reference)
            scores[name][1](predicted, labels, structures=[structures], spacing=[spacing], **reference)
    return {
        f"{name}_{kind}": round(float(metric.aggregate()), 2)
        for name, pair in scores.items()
        for kind, metric in zip(("dose_score", "dvh_score"), pair, strict=True)
    }
