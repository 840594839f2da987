# SPDX-License-Identifier: Apache-2.0
"""From a batch of the data loader to an image and a dictionary of labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from monai.engines import PrepareBatch

__all__ = ["PrepareMultiTaskBatch"]


class PrepareMultiTaskBatch(PrepareBatch):
    """Take the labels of the network's tasks, and what their losses need beside them, out of a batch.

    Args:
        tasks: task names; each is a key of the batch.
        extra_keys: further keys that travel with the labels when they are there, such as a mask for a loss.
        image_key: key of the network's input.

    """

    def __init__(self, tasks: Iterable[str], extra_keys: Iterable[str] = (), image_key: str = "image") -> None:
        self.keys = (*tasks, *extra_keys)
        self.image_key = image_key

    def __call__(
        self,
        batchdata: dict[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """Return ``(image, {key: label})`` on the device; without labels (inference) the dictionary is empty."""
        labels = {
            key: torch.as_tensor(batchdata[key]).to(device=device, non_blocking=non_blocking, **kwargs)
            for key in self.keys
            if key in batchdata
        }
        return batchdata[self.image_key].to(device=device, non_blocking=non_blocking, **kwargs), labels
