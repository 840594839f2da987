# SPDX-License-Identifier: Apache-2.0
"""Labels that a case does not have, so that all cases of a batch have the same keys."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.data import MetaTensor
from monai.transforms import Transform

__all__ = ["CompleteLabelsd"]


class CompleteLabelsd(Transform):
    """Fill in what a case has no label for.

    A dense task without a label gets NaN, a classification task -1: unknown, so that neither loss nor metric counts
    it; a class number becomes a tensor. A case without a possible-dose mask gets the body.

    Args:
        tasks: the network's task list.
        like: key of the volume whose grid the labels share.
        mask_key: possible-dose mask.
        body_key: what stands in for it.

    """

    def __init__(
        self,
        tasks: Mapping[str, Mapping[str, Any]],
        like: str = "image",
        mask_key: str = "mask",
        body_key: str = "body",
    ) -> None:
        self.tasks = tasks
        self.like = like
        self.mask_key = mask_key
        self.body_key = body_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        grid = d[self.like]
        for task, spec in self.tasks.items():
            if spec["kind"] == "classification":
                d[task] = torch.as_tensor(d.get(task, -1), dtype=torch.int64)
            elif task not in d:
                unknown = torch.full((spec["out_channels"], *grid.shape[1:]), torch.nan)
                d[task] = MetaTensor(unknown, meta=dict(grid.meta)) if isinstance(grid, MetaTensor) else unknown
        if self.mask_key not in d and self.body_key in d:
            d[self.mask_key] = d[self.body_key].clone()
        return d
