# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-lite as a backbone, registered beside MONAI's own."""

from __future__ import annotations

import math
from typing import Any

import torch
from monai.networks.blocks import BaseEncoder
from monai.networks.layers import get_act_layer
from monai.networks.nets.efficientnet import EfficientNet, MBConvBlock, _round_filters
from monai.networks.nets.flexible_unet import FLEXUNET_BACKBONE
from torch import nn

from ctan_networks.errors import ConfigError

__all__ = ["EfficientNetLite"]

# Name to width and depth multiplier.
SCALES = {"efficientnet-lite0": (1.0, 1.0), "efficientnet-lite1": (1.0, 1.1), "efficientnet-lite2": (1.1, 1.2)}
# Repeats, kernel size, stride, expansion, input and output channels of each stage of lite0.
STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)
# Those that give a feature map.
FEATURE_STAGES = (0, 1, 2, 4, 6)
# What to subtract from an RGB image in [0, 1], and what to divide by, before a network that was trained on ImageNet.
MEAN, STD = 127 / 255, 128 / 255


class EfficientNetLite(EfficientNet, BaseEncoder):
    """EfficientNet-lite0 to -lite2 (Tan and Le, ICML 2019; the lite models of TensorFlow's repository, 2020).

    MONAI's EfficientNet without squeeze-and-excitation, with ReLU6, and with stem, head, first and last stage that are
    not scaled. Convolutions are padded as by TensorFlow's "same" for inputs whose sides are multiples of 32.

    Trained on ImageNet with an input of ``(RGB - 127) / 128``.

    Args:
        model_name: "efficientnet-lite0", "efficientnet-lite1" or "efficientnet-lite2".
        pretrained: must be false; weights are loaded through
            :py:func:`ctan_networks.nets.load_encoder_weights`.
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        num_classes: outputs of :py:meth:`classify`.
        drop_connect_rate: probability that the last block of all is skipped in training (stochastic depth); it rises
            linearly from 0 at the first.

    Raises:
        ConfigError: when there is no such model, or ``pretrained`` is true.

    """

    def __init__(
        self,
        model_name: str,
        pretrained: bool = False,
        spatial_dims: int = 2,
        in_channels: int = 3,
        num_classes: int = 1000,
        drop_connect_rate: float = 0.2,
    ) -> None:
        if model_name not in SCALES:
            raise ConfigError(f"no EfficientNet-lite {model_name!r}: there are {', '.join(SCALES)}.")
        if pretrained:
            raise ConfigError(f"{model_name} downloads no weights: use load_encoder_weights(encoder, 'imagenet').")
        stages = scaled_stages(*SCALES[model_name])
        super().__init__(
            [f"r{r}_k{k}_s{s}{s}_e{e}_i{i}_o{o}" for r, k, s, e, i, o in stages],
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            num_classes=num_classes,
            image_size=224,
            drop_connect_rate=drop_connect_rate,
        )
        self._swish = get_act_layer(("relu6", {"inplace": True}))
        for module in self.modules():
            if isinstance(module, MBConvBlock):
                _simplify(module)

    def forward(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        """Feature maps at strides 2, 4, 8, 16 and 32 of an input ``[B, C, *spatial]``."""
        x = self._swish(self._bn0(self._conv_stem(self._conv_stem_padding(inputs))))
        features: list[torch.Tensor] = []
        for i, stage in enumerate(self._blocks):
            x = stage(x)
            # MONAI's list of the stages behind which the next one halves the size, and the last.
            if i + 1 in self.extract_stacks:
                features.append(x)
        return features

    def classify(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits ``[B, num_classes]``, as of the network that was trained on ImageNet."""
        x = self._swish(self._bn1(self._conv_head(self.forward(inputs)[-1])))
        return self._fc(self._dropout(x.flatten(2).mean(-1)))

    @classmethod
    def get_encoder_names(cls) -> list[str]:
        return list(SCALES)

    @classmethod
    def get_encoder_parameters(cls) -> list[dict[str, Any]]:
        return [{"model_name": name, "pretrained": False, "spatial_dims": 2, "in_channels": 3} for name in SCALES]

    @classmethod
    def num_outputs(cls) -> list[int]:
        return [len(FEATURE_STAGES)] * len(SCALES)

    @classmethod
    def num_channels_per_output(cls) -> list[tuple[int, ...]]:
        widths = [[stage[5] for stage in scaled_stages(*scale)] for scale in SCALES.values()]
        return [tuple(stages[k] for k in FEATURE_STAGES) for stages in widths]


def scaled_stages(width: float, depth: float) -> list[tuple[int, int, int, int, int, int]]:
    """The stages of lite0 made wider and deeper; the stem's channels and the ends' repeats are kept."""
    scaled = []
    last = len(STAGES) - 1
    for n, (repeats, kernel, stride, expansion, inputs, outputs) in enumerate(STAGES):
        scaled.append(
            (
                repeats if n in (0, last) else math.ceil(repeats * depth),
                kernel,
                stride,
                expansion,
                inputs if n == 0 else _round_filters(inputs, width, 8),
                _round_filters(outputs, width, 8),
            )
        )
    return scaled


def _simplify(block: MBConvBlock) -> None:
    """ReLU6, and a convolution with stride 1 pads for itself: the same numbers without a copy of its input."""
    block._swish = get_act_layer(("relu6", {"inplace": True}))
    convolution = block._depthwise_conv
    if block.stride == 1:
        convolution.padding = tuple(k // 2 for k in convolution.kernel_size)
        block._depthwise_conv_padding = nn.Identity()
    # TorchScript compiles the branch that is never taken, too.
    for part in ("adaptpool", "reduce", "reduce_padding", "expand", "expand_padding"):
        setattr(block, f"_se_{part}", nn.Identity())


FLEXUNET_BACKBONE.register_class(EfficientNetLite)
