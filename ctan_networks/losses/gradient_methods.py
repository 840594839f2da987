# SPDX-License-Identifier: Apache-2.0
"""Multi-task methods that work on gradients, from TorchJD."""

from __future__ import annotations

from typing import Any

from ctan_networks.errors import ConfigError

__all__ = ["GRADIENT_METHODS", "make_aggregator"]

# Name in a configuration to TorchJD's class. Those that need a solver or the losses themselves are not among them.
GRADIENT_METHODS = {
    "pcgrad": "PCGrad",
    "upgrad": "UPGrad",
    "cagrad": "CAGrad",
    "mgda": "MGDA",
    "imtl_g": "IMTLG",
    "aligned_mtl": "AlignedMTL",
    "graddrop": "GradDrop",
}
ARGUMENTS: dict[str, dict[str, Any]] = {"cagrad": {"c": 0.5}}


def make_aggregator(name: str) -> Any | None:
    """The TorchJD aggregator called ``name``; None when it is no gradient method.

    Raises:
        ConfigError: when TorchJD, or what it needs for this method, is not installed.

    """
    if name not in GRADIENT_METHODS:
        return None
    try:
        from torchjd import aggregation

        return getattr(aggregation, GRADIENT_METHODS[name])(**ARGUMENTS.get(name, {}))
    except ImportError as error:
        raise ConfigError(
            f'the weighting {name!r} needs TorchJD ({error}): pip install "ctan-networks[torchjd]".'
        ) from error
