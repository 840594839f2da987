# SPDX-License-Identifier: Apache-2.0
"""What the four architectures have in common."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ctan_networks.blocks import (
    BackboneEncoder,
    ClassificationBranch,
    DenseBranch,
    Encoder,
    SharedEncoder,
    check_tasks,
    initialise_parameters,
    stack_outputs,
)
from ctan_networks.blocks.convolution import conv_norm_act
from ctan_networks.errors import ConfigError
from ctan_networks.nets.encoder_weights import load_encoder_weights
from ctan_networks.nets.loading import check_weights

__all__ = ["PLAIN", "MultiTaskNet"]

# The encoder made of this package's own blocks.
PLAIN = "plain"


class MultiTaskNet(nn.Module):
    """Shared encoder, one bottleneck embedding and one branch a task; how tasks use the encoder is the subclass's idea.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        tasks: task name to ``{"kind": "segmentation" | "regression" | "classification", "out_channels": int}``; at
            least one. The names are the keys of the output.
        channels: channels of the encoder levels, finest first, and of the bottleneck, last. Between two of them the
            size is halved. With a backbone the bottleneck's count, the levels have those of the backbone.
        stem_stride: edge of the block of voxels that the stem folds into channels, and the dense heads unfold again.
            1: the network runs at full resolution. With a backbone it is 2, the stride of its first feature map.
        norm: normalisation, as in MONAI.
        act: activation, as in MONAI.
        dropout: dropout probability.
        stacked: return one tensor (see :py:mod:`ctan_networks.blocks.stacking`) in place of a dictionary. The weights
            are the same.
        seed: initial weights are drawn from (seed, parameter name), so that architectures share what they have in
            common.
        encoder: "plain", the blocks of this package, or the name of a backbone in MONAI's registry
            (``monai.networks.nets.flexible_unet.FLEXUNET_BACKBONE``), such as "efficientnet-lite0" or "resnet10".
        encoder_weights: weights that the encoder starts from: a file with its state dict, or "imagenet" for the
            EfficientNet-lites; None: from nothing. See :py:func:`ctan_networks.nets.load_encoder_weights`.
        freeze_encoder: number of the encoder's stages, finest first, that are not trained; their batch norm stays in
            evaluation mode.
        drop_path: see :py:class:`ctan_networks.blocks.BackboneEncoder`.

    Raises:
        ConfigError: when an argument cannot be used, or the encoder's weights do not fit.

    """

    __constants__: tuple[str, ...] = (
        "classifications",
        "regressions",
        "segmentations",
        "skip_count",
        "spatial_dims",
        "stacked",
        "stride",
        "task_count",
    )

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        tasks: Mapping[str, Mapping[str, Any]],
        channels: Sequence[int] = (32, 64, 128, 192),
        stem_stride: int = 1,
        norm: str | tuple = "INSTANCE",
        act: str | tuple = "LEAKYRELU",
        dropout: float = 0.0,
        stacked: bool = False,
        seed: int = 0,
        encoder: str = PLAIN,
        encoder_weights: str | os.PathLike | None = None,
        freeze_encoder: int = 0,
        drop_path: float | None = None,
    ) -> None:
        super().__init__()
        if spatial_dims not in (2, 3):
            raise ConfigError(f"spatial_dims must be 2 or 3, got {spatial_dims!r}.")
        if len(channels) < 2 or min(channels) < 1:
            raise ConfigError(f"channels must list at least two widths (encoder and bottleneck), got {list(channels)}.")
        if in_channels < 1 or stem_stride < 1:
            raise ConfigError(f"in_channels and stem_stride must be at least 1, got {in_channels} and {stem_stride}.")
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout must lie in [0, 1), got {dropout}.")
        norm, act = _as_tuple(norm), _as_tuple(act)
        self.tasks = check_tasks(tasks)
        self.task_count = len(self.tasks)
        self.spatial_dims = spatial_dims
        self.stacked = stacked
        kinds = {name: spec["kind"] for name, spec in self.tasks.items()}
        self.segmentations = [name for name, kind in kinds.items() if kind == "segmentation"]
        self.regressions = [name for name, kind in kinds.items() if kind == "regression"]
        self.classifications = [name for name, kind in kinds.items() if kind == "classification"]
        self.norm, self.act, self.dropout = norm, act, dropout

        levels, bottom = tuple(int(c) for c in channels[:-1]), int(channels[-1])
        self.encoder: Encoder
        if encoder == PLAIN:
            if drop_path:
                raise ConfigError("the plain encoder has no stochastic depth: leave drop_path out.")
            self.encoder = SharedEncoder(spatial_dims, in_channels, levels, stem_stride, norm, act, dropout)
            self.channels = (*levels, bottom)
        else:
            self.encoder = BackboneEncoder(spatial_dims, in_channels, encoder, drop_path)
            # Its deepest map is no skip feature, but enters the bottleneck.
            self.channels = (*self.encoder.channels[:-1], bottom)
        stem_stride = self.encoder.stem_stride
        self.stride = stem_stride * 2 ** (len(self.encoder.channels) - (encoder != PLAIN))
        self.skip_count = len(self.channels) - 1
        self.embed = nn.ModuleDict()
        self.branches = nn.ModuleDict()
        for name, spec in self.tasks.items():
            self.embed[name] = conv_norm_act(
                spatial_dims, self.encoder.channels[-1], bottom, norm=norm, act=act, dropout=dropout
            )
            self.branches[name] = (
                ClassificationBranch(bottom, spec["out_channels"], act, dropout)
                if spec["kind"] == "classification"
                else DenseBranch(
                    spatial_dims, self.channels, spec["out_channels"], spec["kind"], stem_stride, norm, act, dropout
                )
            )
        self._make_sharing()
        initialise_parameters(self, seed)
        if encoder_weights is not None:
            load_encoder_weights(self.encoder, encoder_weights, encoder)
        self.encoder.freeze(freeze_encoder)

    def _make_sharing(self) -> None:
        """Make what the architecture adds to encoder, embeddings and branches."""

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load weights; as of ``torch.nn.Module``, but weights of another network are always an error.

        With ``strict=False``, as MONAI Label loads them, torch leaves random what it finds no weights for. Here
        ``strict=False`` only allows entries that the network does not have.

        Raises:
            ConfigError: see :py:func:`ctan_networks.nets.loading.check_weights`.

        """
        check_weights(self, state_dict, extra=not strict)
        return super().load_state_dict(state_dict, strict=strict, assign=assign)

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters that serve all tasks: those that belong to no task's own modules."""
        own = {id(p) for task in self.tasks for p in self.task_parameters(task)}
        return (p for p in self.parameters() if id(p) not in own)

    def task_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """Parameters that serve one task alone: its embedding, decoder or classifier, and its attention.

        Raises:
            ConfigError: when the network has no such task.

        """
        if task not in self.tasks:
            raise ConfigError(f"no task {task!r}: the network has {', '.join(self.tasks)}.")
        return (
            p
            for module in self.modules()
            if isinstance(module, nn.ModuleDict) and list(module) == list(self.tasks)
            for p in module[task].parameters()
        )

    def task_features(
        self, us: list[torch.Tensor], ps: list[torch.Tensor], s: torch.Tensor
    ) -> tuple[list[torch.Tensor], list[list[torch.Tensor]]]:
        """From the shared features to each task's bottleneck input and skip features. Here: the shared ones for all.

        Args:
            us: features after the first convolution of each encoder level, finest first.
            ps: features after the second.
            s: what enters the bottleneck: the last level's features, pooled, or the deepest map of a backbone.

        """
        return [s for _ in range(self.task_count)], [ps for _ in range(self.task_count)]

    def cross_bottleneck(self, features: list[torch.Tensor]) -> list[torch.Tensor]:
        """What tasks exchange at the bottleneck. Here: nothing."""
        return features

    def pad(self, x: torch.Tensor) -> torch.Tensor:
        """Repeat the border until each side is a multiple of the network's stride.

        Raises:
            ConfigError: when the size is too small for the network.

        """
        amounts: list[int] = []
        positions = 1
        for side in x.shape[2:]:
            amount = (self.stride - side % self.stride) % self.stride
            positions = positions * ((side + amount) // self.stride)
            amounts = [0, amount] + amounts
        if positions < 2:
            size = list(x.shape[2:])
            raise ConfigError(
                f"input size {size} is too small for this network: {self.stride} voxels become one at the bottleneck"
                f" and at least two are needed there. Use a larger input (sides that are multiples of {self.stride}"
                " need no padding) or fewer channels."
            )
        return F.pad(x, amounts, mode="replicate")

    def forward(self, x: torch.Tensor):
        """Compute all tasks.

        Args:
            x: ``[B, in_channels, *spatial]`` of any size that holds at least two bottleneck positions.

        Returns:
            ``{task: tensor}``: logits ``[B, out_channels, *spatial]`` for segmentation, values of the same shape for
            regression, logits ``[B, out_channels]`` for classification; or, with ``stacked``, one tensor.

        Raises:
            ConfigError: when the input is too small.
            ValueError: when it has another number of dimensions.

        """
        if x.ndim != self.spatial_dims + 2:
            raise ValueError(f"expected [batch, channel] and {self.spatial_dims} spatial axes, got shape {x.shape}.")
        size = x.shape[2:]
        us, ps, s = self.encoder(self.pad(x))
        pooled, skips = self.task_features(us, ps, s)
        features: list[torch.Tensor] = []
        for i, embed in enumerate(self.embed.values()):
            features.append(embed(pooled[i]))
        features = self.cross_bottleneck(features)
        out: dict[str, torch.Tensor] = {}
        for i, (name, branch) in enumerate(self.branches.items()):
            y = branch(features[i], skips[i])
            for axis in range(2, y.ndim):
                y = y.narrow(axis, 0, size[axis - 2])
            out[name] = y
        if self.stacked:
            return stack_outputs(out, self.segmentations, self.regressions, self.classifications)
        else:  # noqa: RET505  TorchScript compiles the branch that the flag chooses, if it is an else
            return out


def _as_tuple(value: Any) -> Any:
    """JSON has lists where MONAI's factories want tuples."""
    return tuple(value) if isinstance(value, list) else value
