# SPDX-License-Identifier: Apache-2.0
"""Where in its input a network found a class: Grad-CAM of one task of a multi-task network."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from monai.visualize import GradCAM
from torch import nn

from ctan_networks.errors import ConfigError

__all__ = ["grad_cam"]


class _OneTask(nn.Module):
    """A network of several tasks as one that gives the logits of one."""

    def __init__(self, network: nn.Module, task: str) -> None:
        super().__init__()
        self.network = network
        self.task = task

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.network(x)
        return out[self.task] if isinstance(out, Mapping) else out


def grad_cam(network: nn.Module, image: torch.Tensor, task: str, class_index: int) -> np.ndarray:
    """Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391) at the bottleneck embedding of a classification task.

    It works on a copy of the network, since MONAI's hooks stay on what they are put on: the network keeps its mode,
    gradients and modules. It may be called where gradients are off.

    Args:
        network: gives ``{task: logits [1, C]}`` and has a module ``embed.<task>``, as all of this package do.
        image: the network's input, ``[1, channels, *spatial]``, on any device.
        task: name of the task.
        class_index: number of the class that the map is of.

    Returns:
        float32 ``[*spatial]``, 0 to 1 with 1 at the highest; all 0 where nothing speaks for the class.

    Raises:
        ConfigError: when the network has no such task or gives one stacked tensor.
    """
    layer = f"network.embed.{task}"
    with torch.inference_mode(False), torch.enable_grad():
        model = _OneTask(copy.deepcopy(network), task).eval()
        if layer not in dict(model.named_modules()) or getattr(network, "stacked", False):
            raise ConfigError(
                f"grad_cam: the network must give a dictionary of its tasks and have a module 'embed.{task}'; "
                f"{type(network).__name__} does not."
            )
        weight = next(model.parameters())
        x = image.detach().as_subclass(torch.Tensor).to(weight.device, weight.dtype, copy=True)
        # What the network pads inside itself would shift the map; padded before, it is known what to cut off. The input
        # takes part in the gradient, so that frozen parameters do no harm.
        pad: Any = getattr(network, "pad", None)
        padded = pad(x) if pad is not None else x
        cam = GradCAM(model, layer, postprocessing=lambda values: values)
        found = cam(padded.requires_grad_(), class_idx=class_index)
    values = found[(0, 0, *(slice(size) for size in image.shape[2:]))].detach().float().cpu().numpy()
    top = float(values.max())
    return values / top if top > 0 else np.zeros_like(values)
