# SPDX-License-Identifier: Apache-2.0
"""The one convolution block that encoder, decoder and bottleneck are made of."""

from __future__ import annotations

from monai.networks.blocks import Convolution

__all__ = ["conv_norm_act"]


def conv_norm_act(
    spatial_dims: int,
    in_channels: int,
    out_channels: int,
    kernel_size: int = 3,
    norm: str | tuple = "INSTANCE",
    act: str | tuple = "LEAKYRELU",
    dropout: float = 0.0,
) -> Convolution:
    """MONAI's convolution, normalisation, dropout, activation, in this order; the size stays.

    The convolution has no bias: the normalisation behind it would remove it.
    """
    return Convolution(
        spatial_dims,
        in_channels,
        out_channels,
        kernel_size=kernel_size,
        adn_ordering="NDA",
        norm=norm,
        act=act,
        dropout=dropout or None,
        bias=False,
    )
