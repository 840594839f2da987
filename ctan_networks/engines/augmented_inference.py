# SPDX-License-Identifier: Apache-2.0
"""Test-time augmentation: what a network says of a case and of its mirror image, and how far apart that is."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.inferers import Inferer
from monai.utils import ensure_tuple

from ctan_networks.blocks.stacking import split_stacked
from ctan_networks.errors import ConfigError

__all__ = ["TestTimeAugmentation"]


class TestTimeAugmentation(Inferer):
    """Runs another inferer on a case, on its mirror images, and with the image's values scaled.

    Each task's output becomes the mean over these members: of probabilities for segmentation and classification (given
    back as logits), of values for regression. ``<task>_uncertainty`` stands beside it: the entropy of the mean
    probability in bits for each structure (0: sure, 1: as likely as not) or over the classes, and the standard
    deviation over the members for regression, in the output's unit. What all members get wrong alike is in neither.

    Args:
        inferer: the one to run, for example ``SlidingWindowInferer``.
        tasks: the network's task list.
        axis: the spatial axis from left to right; or several axes, of which every combination is mirrored. Partners
            change places where the first is.
        inputs: names of the input's channels.
        structures: segmentation task to the names of its channels.
        pairs: pairs of names that change places in a mirror image, such as ``[["LeftParotid", "RightParotid"]]``.
        scales: factors of the first input channel; the mirror images are taken with each.
        enabled: False: run the inferer as it is.

    Raises:
        ConfigError: when there is no factor, or only one half of a pair is there.

    """

    # Not a test, whatever its name begins with.
    __test__ = False

    def __init__(
        self,
        inferer: Inferer,
        tasks: Mapping[str, Mapping[str, Any]],
        axis: int | Sequence[int],
        inputs: Sequence[str],
        structures: Mapping[str, Sequence[str]],
        pairs: Sequence[Sequence[str]] = (),
        scales: Sequence[float] = (1.0,),
        enabled: bool = True,
    ) -> None:
        super().__init__()
        if not scales:
            raise ConfigError("TestTimeAugmentation: give at least one factor, such as scales [1.0].")
        self.inferer = inferer
        self.tasks = tasks
        self.dims = [number + 2 for number in ensure_tuple(axis)]
        self.input_order = _mirrored_order(inputs, pairs)
        self.orders = {task: _mirrored_order(names, pairs) for task, names in structures.items() if task in tasks}
        self.scales = [float(scale) for scale in scales]
        self.enabled = enabled

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """``{task: mean, task_uncertainty: ...}``; without augmentation what the inferer returns."""
        if not self.enabled:
            return self.inferer(inputs, network, *args, **kwargs)
        first: dict[str, torch.Tensor] = {}
        second: dict[str, torch.Tensor] = {}
        mirrorings = list(itertools.product((False, True), repeat=len(self.dims)))
        for scale in self.scales:
            scaled = torch.cat([inputs[:, :1] * scale, inputs[:, 1:]], dim=1)
            for mirrored in mirrorings:
                given = self._mirror(scaled, self.input_order, mirrored)
                for task, value in self._outputs(self.inferer(given, network, *args, **kwargs)).items():
                    plain = self._probabilities(task, self._mirror_back(task, value, mirrored)).double()
                    first[task] = first.get(task, 0) + plain
                    second[task] = second.get(task, 0) + plain**2
        members = len(mirrorings) * len(self.scales)
        out: dict[str, torch.Tensor] = {}
        for task, total in first.items():
            mean = total / members
            spread = (second[task] / members - mean**2).clamp(min=0).sqrt()
            out[task], uncertainty = self._summary(task, mean, spread)
            out[f"{task}_uncertainty"] = uncertainty.float()
        return out

    def _outputs(self, out: Any) -> dict[str, torch.Tensor]:
        return dict(out) if isinstance(out, Mapping) else split_stacked(out, self.tasks)

    def _mirror(self, value: torch.Tensor, order: Sequence[int] | None, mirrored: Sequence[bool]) -> torch.Tensor:
        """Mirror along some axes; with the first of them the channels take another order."""
        if not any(mirrored):
            return value
        value = value[:, order] if order is not None and mirrored[0] else value
        return value.flip([dim for dim, along in zip(self.dims, mirrored, strict=True) if along])

    def _mirror_back(self, task: str, value: torch.Tensor, mirrored: Sequence[bool]) -> torch.Tensor:
        if self.tasks[task]["kind"] == "classification":
            return value
        return self._mirror(value, self.orders.get(task), mirrored)

    def _probabilities(self, task: str, value: torch.Tensor) -> torch.Tensor:
        kind = self.tasks[task]["kind"]
        if kind == "segmentation":
            return value.sigmoid()
        return value.softmax(1) if kind == "classification" else value

    def _summary(self, task: str, mean: torch.Tensor, spread: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        kind = self.tasks[task]["kind"]
        if kind == "regression":
            return mean.float(), spread
        # float32 tells no probability above 1 - 6e-8 from 1.
        bounded = mean.clamp(1e-7, 1 - 1e-7)
        if kind == "classification":
            return bounded.log().float(), -(bounded * bounded.log2()).sum(1, keepdim=True)
        entropy = -(bounded * bounded.log2() + (1 - bounded) * (1 - bounded).log2())
        return bounded.logit().float(), entropy


def _mirrored_order(names: Sequence[str], pairs: Sequence[Sequence[str]]) -> list[int]:
    """Positions of the channels after partners changed places."""
    listed = list(names)
    order = list(range(len(listed)))
    for pair in pairs:
        there = [name for name in pair if name in listed]
        if len(there) == 1:
            raise ConfigError(
                f"{there[0]} has no partner among {', '.join(listed)}: give both of {list(pair)}, or none."
            )
        if there:
            left, right = (listed.index(name) for name in there)
            order[left], order[right] = right, left
    return order
