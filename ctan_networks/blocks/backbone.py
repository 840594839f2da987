# SPDX-License-Identifier: Apache-2.0
"""A backbone of MONAI's registry as the encoder that all tasks share."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from monai.networks.nets.efficientnet import MBConvBlock
from monai.networks.nets.flexible_unet import FLEXUNET_BACKBONE
from torch import nn

from ctan_networks.blocks.encoder import Encoder
from ctan_networks.blocks.feature_maps import feature_maps_of, parameter_stages
from ctan_networks.errors import ConfigError

__all__ = ["BackboneEncoder"]


class BackboneEncoder(Encoder):
    """A backbone with a feature map a level, each half the size of the one before: U and P of a level are its map.

    The first map has half the input's size. The deepest goes to the bottleneck, the others are skip features. What no
    map depends on, such as the backbone's classifier, is removed.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        name: name in ``monai.networks.nets.flexible_unet.FLEXUNET_BACKBONE``.
        drop_path: probability that the last residual block is skipped in training (stochastic depth; Huang et al.,
            ECCV 2016), rising linearly from 0 at the first; None: the backbone's own. EfficientNets only.

    Raises:
        ConfigError: when there is no such backbone, or it cannot be an encoder with these arguments.

    """

    def __init__(self, spatial_dims: int, in_channels: int, name: str, drop_path: float | None = None) -> None:
        backbone = _make_backbone(name, spatial_dims, in_channels)
        maps = _check_maps(name, backbone, spatial_dims, in_channels)
        super().__init__(spatial_dims, in_channels, [m.shape[1] for m in maps], stem_stride=2)
        used = parameter_stages(backbone, spatial_dims, in_channels, len(maps), 2)
        self.removed = [
            part
            for part, module in backbone.named_children()
            if any(True for _ in module.parameters()) and not any(key.startswith(f"{part}.") for key in used)
        ]
        for part in self.removed:
            delattr(backbone, part)
        if drop_path is not None:
            _set_drop_path(name, backbone, drop_path)
        self.backbone = backbone

    def forward(self, x: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor], torch.Tensor]:
        """Return the feature maps, finest first, as U and as P, and the deepest."""
        maps = self.backbone(x)
        return maps, maps, maps[-1]


def _make_backbone(name: str, spatial_dims: int, in_channels: int) -> nn.Module:
    known = FLEXUNET_BACKBONE.register_dict
    if name not in known:
        raise ConfigError(
            f"no encoder {name!r}: there are plain, {', '.join(known)}. To add one, see docs/ENCODERS.md."
        )
    arguments = known[name]["parameter"] | {
        "spatial_dims": spatial_dims,
        "in_channels": in_channels,
        "pretrained": False,
    }
    try:
        backbone = known[name]["type"](**arguments)
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        raise ConfigError(
            f"encoder {name} cannot be made with spatial_dims {spatial_dims} and in_channels {in_channels}: {error}"
        ) from error
    for module in backbone.modules():
        shortcut = getattr(module, "downsample", None)
        if isinstance(shortcut, partial):
            module.downsample = ZeroPadShortcut(shortcut.keywords["planes"], shortcut.keywords["stride"])
    return backbone


def _check_maps(name: str, backbone: nn.Module, spatial_dims: int, in_channels: int) -> list[torch.Tensor]:
    """The backbone's feature maps for some image, without values; each must be half as large as the one before."""
    side = 64
    try:
        maps, _ = feature_maps_of(backbone, spatial_dims, in_channels, side)
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        raise ConfigError(
            f"encoder {name} does not take an image of {in_channels} channels in {spatial_dims}D: {error}"
        ) from error
    if not isinstance(maps, list | tuple) or not all(isinstance(m, torch.Tensor) for m in maps):
        raise ConfigError(f"encoder {name} must give a list of feature maps, got {type(maps).__name__}.")
    found = [tuple(m.shape[2:]) for m in maps]
    wanted = [(side // 2 ** (k + 1),) * spatial_dims for k in range(len(maps))]
    if found != wanted or not 2 <= len(maps) <= 5:
        raise ConfigError(
            f"encoder {name} must give 2 to 5 feature maps, each half as large as the one before, the first half as"
            f" large as the image; for sides of {side} it gives sides of {', '.join(str(m[0]) for m in found)}."
        )
    return list(maps)


def _set_drop_path(name: str, backbone: nn.Module, rate: float) -> None:
    blocks = [module for module in backbone.modules() if isinstance(module, MBConvBlock)]
    if not 0 <= rate < 1:
        raise ConfigError(f"drop_path must lie in [0, 1), got {rate!r}.")
    if not blocks and rate:
        raise ConfigError(f"encoder {name} has no stochastic depth: leave drop_path out.")
    for number, block in enumerate(blocks):
        block.drop_connect_rate = rate * number / len(blocks)


class ZeroPadShortcut(nn.Module):
    """Shortcut of a residual block that halves the size: every other position, and zeros as further channels.

    He et al., CVPR 2016, option A. The same numbers as MONAI's, which is a function that TorchScript cannot take and
    that stops the gradient.

    Args:
        channels: channels of the output.
        stride: of the block.

    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.channels = channels
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, C, *spatial]`` to ``[B, channels, *spatial / stride]``."""
        for axis in range(2, x.ndim):
            x = torch.index_select(x, axis, torch.arange(0, x.shape[axis], self.stride, device=x.device))
        more = [0, 0] * (x.ndim - 2) + [0, self.channels - x.shape[1]]
        return F.pad(x, more)
