# SPDX-License-Identifier: Apache-2.0
"""Weights that do not fit a network: said before they are loaded, and never passed over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ctan_networks.errors import ConfigError

__all__ = ["check_weights", "find_misfits"]


def check_weights(network: nn.Module, state_dict: Mapping[str, Any], extra: bool = False) -> None:
    """Check that weights are those of a network.

    Args:
        network: the network.
        state_dict: the weights.
        extra: entries that the network does not have are no error.

    Raises:
        ConfigError: when a parameter of the network has no entry, or one of another shape, or (without ``extra``) an
            entry belongs to no parameter; says which, and what the weights look like instead.

    """
    found = find_misfits(network.state_dict(), state_dict, extra)
    if found:
        raise ConfigError(
            f"these weights are not of this network ({type(network).__name__}, tasks"
            f" {', '.join(getattr(network, 'tasks', []))}): {found}"
        )


def find_misfits(own: Mapping[str, torch.Tensor], state_dict: Mapping[str, Any], extra: bool = False) -> str:
    """What does not fit when weights are loaded into a state dict, and what to do about it; empty when all fits.

    Args:
        own: the state dict of the module.
        state_dict: the weights.
        extra: entries that the module does not have are no misfit.

    """
    missing = [name for name in own if name not in state_dict]
    strange = [name for name in state_dict if name not in own]
    reshaped = [
        f"{name} {tuple(state_dict[name].shape)} for {tuple(own[name].shape)}"
        for name in own
        if isinstance(state_dict.get(name), torch.Tensor) and state_dict[name].shape != own[name].shape
    ]
    if not missing and not reshaped and (extra or not strange):
        return ""
    found = [
        f"{len(names)} {what} ({', '.join(names[:3])}{' ...' if len(names) > 3 else ''})"
        for names, what in (
            (missing, "parameters are missing"),
            (strange, "do not belong to it"),
            (reshaped, "have another shape"),
        )
        if names
    ]
    return f"{'; '.join(found)}. {_advice(own, state_dict)}"


def _advice(own: Mapping[str, Any], state_dict: Mapping[str, Any]) -> str:
    prefix = _common_prefix(own, state_dict)
    if prefix:
        return f"All of their names begin with {prefix!r}, as those of a network inside of another do: take that away."
    if any(isinstance(value, Mapping) for value in state_dict.values()):
        return f"They lie deeper in the file, which has the entries {', '.join(map(str, state_dict))}: save them alone."
    if not any(name.startswith("encoder.") for name in own):
        return ""
    backbones = [any(name.startswith("encoder.backbone.") for name in names) for names in (own, state_dict)]
    if backbones == [False, True]:
        return "Their encoder is a backbone: give its name with --encoder (model.json beside the weights says it)."
    if backbones == [True, False] and any(name.startswith("encoder.levels.") for name in state_dict):
        return "Their encoder is the plain one: give --encoder plain."
    return (
        "Give weights of the same architecture, encoder, tasks and channels (--checkpoint), or the architecture that"
        " they are of (--architecture). monai.networks.copy_model_state takes over what fits."
    )


def _common_prefix(own: Mapping[str, Any], state_dict: Mapping[str, Any]) -> str:
    """What stands before the names of an otherwise fitting state dict; empty when that is not so."""
    first = next(iter(own))
    for name in state_dict:
        if name.endswith(f".{first}"):
            prefix = name.removesuffix(first)
            if all(f"{prefix}{key}" in state_dict for key in own):
                return prefix
    return ""
