# SPDX-License-Identifier: Apache-2.0
"""A case's dose in numbers, as part of its result."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from ctan_networks.radiotherapy.metrics.plan_metrics import STATISTICS, dose_statistics
from ctan_networks.radiotherapy.transforms.dose_in_gray import UNIT
from ctan_networks.transforms.summaries import note, plain

__all__ = ["DoseSummaryd"]


class DoseSummaryd(MapTransform):
    """Note the dose in each predicted structure: ``result["dose"]``.

    It holds ``unit`` ("Gy"), ``maximum`` of the whole volume, ``file`` (where ``SaveCased`` wrote it), ``prescription``
    (Gy; the case's own, or what the dose was predicted for) and, under ``structures``, for each structure that was
    found its ``volume_cc``, ``mean``, ``D_95``, ``D_0.03_cc`` (the dose of the hottest 0.03 cm^3, which clinics take
    for the maximum; see :py:func:`ctan_networks.radiotherapy.metrics.plan_metrics.dose_statistics`) and ``maximum``,
    the hottest voxel. Without a segmentation there is the maximum alone.

    Args:
        keys: dose in Gy, ``[1, *spatial]``, MetaTensor.
        structures: names of the channels of the segmentation.
        segmentation_key: masks ``[S, *spatial]`` on the dose's grid.
        prescription_key: the case's prescription in Gy; may be absent.
        allow_missing_keys: go on when a key is not there.

    """

    STATISTICS = ("volume_cc", "mean", "D_95", "D_0.03_cc")

    def __init__(
        self,
        keys: KeysCollection,
        structures: Sequence[str],
        segmentation_key: str = "predicted_segmentation",
        allow_missing_keys: bool = False,
        prescription_key: str = "prescription",
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.structures = tuple(structures)
        self.segmentation_key = segmentation_key
        self.prescription_key = prescription_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            volume = d[key]
            dose = torch.as_tensor(volume).cpu()
            file = d.get("files", {}).get("dose")
            found: dict[str, Any] = {"unit": "Gy", "maximum": plain(dose.max()), "file": file}
            if (prescription := d.get(self.prescription_key) or d.get(UNIT)) is not None:
                found["prescription"] = plain(prescription)
            if self.segmentation_key in d:
                masks = torch.as_tensor(d[self.segmentation_key]).cpu()
                # Not the product of the spacings: axes need not be at right angles.
                voxel = abs(float(np.linalg.det(volume.affine[:3, :3].numpy())))
                table = dose_statistics(dose, masks, self.structures, voxel)[0]
                found["structures"] = {
                    name: {what: plain(row[STATISTICS.index(what)]) for what in self.STATISTICS}
                    | {"maximum": plain(dose[0][masks[s] > 0.5].max())}
                    for s, (name, row) in enumerate(zip(self.structures, table, strict=True))
                    if row[0] > 0
                }
            d = note(d, {"dose": found})
        return d
