# SPDX-License-Identifier: Apache-2.0
"""Windows that slide over a case, for a network that has dense and image-level tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer

from ctan_networks.blocks.stacking import stack_outputs

__all__ = ["StackedInferer"]


class StackedInferer(Inferer):
    """Runs another inferer on the network's outputs as one tensor, see :py:mod:`ctan_networks.blocks.stacking`.

    MONAI's ``SlidingWindowInferer`` needs outputs that have the window's axes; class logits have none. Stacked they are
    spread over the window, and :py:class:`ctan_networks.transforms.SplitOutputsd` takes their mean over the case.

    Args:
        inferer: the one to run, for example ``SlidingWindowInferer``.

    """

    def __init__(self, inferer: Inferer) -> None:
        super().__init__()
        self.inferer = inferer

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """``inferer(inputs, network, ...)``, stacked; also of a network that stacks by itself."""

        def stacked(windows: torch.Tensor, *more: Any, **others: Any) -> torch.Tensor:
            out = network(windows, *more, **others)
            if isinstance(out, dict):
                model: Any = getattr(network, "module", network)
                out = stack_outputs(out, model.segmentations, model.regressions, model.classifications)
            # Without a dense task the stack has no axes of the window.
            axes = windows.ndim - out.ndim
            if axes == 0:
                return out
            # Not a mere view: MONAI weighs the windows in place.
            return out.reshape(*out.shape, *[1] * axes).repeat(1, 1, *windows.shape[2:])

        return self.inferer(inputs, stacked, *args, **kwargs)
