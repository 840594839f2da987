# SPDX-License-Identifier: Apache-2.0
"""What is asked for when a bundle is made, and what follows from it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from monai.networks.nets.flexible_unet import FLEXUNET_BACKBONE

from ctan_networks.errors import ConfigError
from ctan_networks.nets import ARCHITECTURES, PLAIN
from ctan_networks.tools.authoring.tasks import Task

__all__ = ["Plan"]

SIDES = re.compile(r"(?<![a-z])(left|right|l|r)(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class Plan:
    """A bundle to be written.

    Attributes:
        name: of its folder and of the bundle.
        title: what a reader calls it.
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        tasks: the tasks.
        architecture: the default of ``--architecture``.
        encoder: the default of ``--encoder``.

    Raises:
        ConfigError: when one of them cannot be used.
    """

    name: str
    title: str
    spatial_dims: int
    in_channels: int
    tasks: tuple[Task, ...]
    architecture: str = "ctan"
    encoder: str = PLAIN

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z]\w*", self.name, re.ASCII):
            raise ConfigError(f"{self.name!r} cannot name a bundle: use letters, digits and '_', a letter first.")
        if self.spatial_dims not in (2, 3):
            raise ConfigError(f"spatial_dims must be 2 or 3, got {self.spatial_dims!r}.")
        if self.architecture not in ARCHITECTURES:
            raise ConfigError(f"no architecture {self.architecture!r}: choose one of {', '.join(ARCHITECTURES)}.")
        if self.encoder not in (PLAIN, *FLEXUNET_BACKBONE.register_dict):
            known = ", ".join((PLAIN, *FLEXUNET_BACKBONE.register_dict))
            raise ConfigError(f"no encoder {self.encoder!r}: choose one of {known}.")
        if not isinstance(self.in_channels, int) or self.in_channels < 1:
            raise ConfigError(f"in_channels must be a whole number of at least 1, got {self.in_channels!r}.")
        if self.spatial_dims == 2 and self.in_channels not in (1, 3):
            raise ConfigError(f"pictures are grey (in_channels 1) or RGB (3), not of {self.in_channels} channels.")

    def of_kind(self, *kinds: str) -> list[Task]:
        """The tasks of some kinds, in their order."""
        return [task for task in self.tasks if task.kind in kinds]

    @property
    def segmentations(self) -> list[Task]:
        """Segmentation tasks."""
        return self.of_kind("segmentation")

    @property
    def regressions(self) -> list[Task]:
        """Regression tasks."""
        return self.of_kind("regression")

    @property
    def classifications(self) -> list[Task]:
        """Classification tasks."""
        return self.of_kind("classification")

    @property
    def dense(self) -> list[Task]:
        """Tasks whose label is a map."""
        return [task for task in self.tasks if task.dense]

    @property
    def volume(self) -> bool:
        """Whether images are volumes."""
        return self.spatial_dims == 3

    @property
    def sliding(self) -> bool:
        """Whether the network sees windows of a case, and not a whole case brought to one size."""
        return self.volume and bool(self.dense)

    @property
    def channels(self) -> list[int]:
        """Widths of the network."""
        if self.volume:
            return [32, 64, 128, 192] if self.dense else [16, 32, 64, 128]
        return [32, 64, 128, 256]

    @property
    def norm(self) -> Any:
        """Normalisation of the network.

        Instance norm takes away how much of something an image holds, which classes may depend on; group norm takes
        away some of it.
        """
        if self.classifications:
            return "BATCH"
        return "INSTANCE" if self.volume else ["GROUP", {"num_groups": 8}]

    @property
    def stride(self) -> int:
        """Voxels that become one at the bottleneck; the stem folds two a side, as does a backbone's first map."""
        if self.encoder != PLAIN:
            return 2 ** FLEXUNET_BACKBONE.register_dict[self.encoder]["feature_number"]
        return 2 * 2 ** (len(self.channels) - 1)

    @property
    def flips(self) -> bool:
        """Whether mirrored cases may be trained on: not where names tell sides apart."""
        return not any(SIDES.search(name.replace("_", " ")) for task in self.tasks for name in task.names)

    @property
    def task_list(self) -> dict[str, dict[str, Any]]:
        """The task list of the network."""
        return {task.name: {"kind": task.kind, "out_channels": task.channels} for task in self.tasks}

    @property
    def classes(self) -> dict[str, list[str]]:
        """Names of the classes of each classification."""
        return {task.name: list(task.names) for task in self.classifications}

    @property
    def structures(self) -> dict[str, dict[str, str]]:
        """Structures of each segmentation, and what it means that one is not there."""
        return {task.name: dict.fromkeys(task.names, "empty") for task in self.segmentations}

    def network_def(self, **more: Any) -> dict[str, Any]:
        """The entry ``network_def`` of a configuration."""
        return {
            "_target_": "ctan_networks.nets.make_network",
            "architecture": "@architecture",
            "task": "@task",
            "tasks": "@tasks",
            "spatial_dims": self.spatial_dims,
            "in_channels": self.in_channels,
            "channels": self.channels,
            "stem_stride": 2,
            "norm": self.norm,
            "act": "LEAKYRELU",
            "dropout": 0.0,
            "encoder": "@encoder",
            **more,
        }
