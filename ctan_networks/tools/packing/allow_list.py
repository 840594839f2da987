# SPDX-License-Identifier: Apache-2.0
"""Which names a bundle's configuration may use without a word: components that run no other code."""

from __future__ import annotations

import pydoc
import re
from functools import cache
from types import ModuleType

import torch
from monai.bundle.config_item import ComponentLocator

__all__ = ["objection", "target_objection", "trusted_module"]

# The rooms whose classes and functions configurations are made of.
ROOMS = (
    "monai.data", "monai.engines", "monai.handlers", "monai.inferers", "monai.losses", "monai.metrics",
    "monai.networks", "monai.optimizers", "monai.transforms", "monai.utils.enums", "monai.visualize",
    "ignite.handlers", "ignite.metrics", "torch.nn", "torch.optim",
    "ctan_networks.data", "ctan_networks.datasets", "ctan_networks.engines", "ctan_networks.handlers",
    "ctan_networks.losses", "ctan_networks.metrics", "ctan_networks.nets", "ctan_networks.radiotherapy",
    "ctan_networks.reports", "ctan_networks.tools.monai_label", "ctan_networks.transforms", "ctan_networks.workflow",
)  # fmt: skip
# What else configurations call.
NAMES = {
    "copy.deepcopy", "monai.utils.set_determinism", "torch.cuda.current_device", "torch.cuda.device_count",
    "torch.cuda.is_available", "torch.device", "torch.as_tensor", "torch.tensor", "torch.zeros", "torch.ones",
    "torch.full", "torch.arange", "torch.stack", "torch.cat", "torch.sum", "torch.mean", "torch.argmax",
    "torch.sigmoid", "torch.softmax", "torch.manual_seed",
}  # fmt: skip
# In the rooms, and nevertheless a way to unrestricted pickles.
NOT_THESE = {"monai.data.utils.pickle_hashing", "monai.data.utils.pickle_operations"}
TRUSTED = {name.partition(".")[0] for name in (*ROOMS, *NAMES)}


def trusted_module(name: str) -> bool:
    """Whether a module may be imported: what is used of it is looked at where it is used."""
    return name.partition(".")[0] in TRUSTED


def objection(name: str) -> str:
    """What speaks against a name with dots, such as ``monai.data.DataLoader``; empty when nothing does.

    The name is looked up in what is installed here, and it counts where the thing was defined, not by which way it is
    reached: ``monai.data.utils.os`` is not MONAI's. Nothing outside of the allow-list is imported for it.

    Args:
        name: module, and names in it.

    """
    if name in NAMES:
        return ""
    if any(part.startswith("_") for part in name.split(".")):
        return "a private name"
    if re.fullmatch(r"torch\.\w+", name):
        # Types, memory formats, pi.
        value = getattr(torch, name.partition(".")[2], None)
        return "" if isinstance(value, torch.dtype | torch.memory_format | float) else "outside of the allow-list"
    if not _in_rooms(name):
        return "outside of the allow-list"
    try:
        found = pydoc.locate(name)
    except pydoc.ErrorDuringImport:
        found = None
    if found is None:
        return "not found in what is installed here"
    if isinstance(found, ModuleType):
        return "a whole module"
    place = f"{getattr(found, '__module__', None)}.{getattr(found, '__qualname__', '')}"
    if callable(found) and (place in NOT_THESE or not (_in_rooms(place) or place in NAMES)):
        return f"is {place}, outside of the allow-list"
    return ""


def target_objection(name: str) -> str:
    """What speaks against a ``_target_``: a name with dots, or the bare name of one of MONAI's components."""
    if not re.fullmatch(r"\w+(\.\w+)*", name):
        return "no name"
    if "." in name:
        return objection(name)
    modules = _locator().get_component_module_name(name)
    if not modules:
        return "no component of MONAI"
    reasons = [objection(f"{module}.{name}") for module in ([modules] if isinstance(modules, str) else modules)]
    return next((reason for reason in reasons if reason), "")


def _in_rooms(name: str) -> bool:
    return name.startswith(tuple(f"{room}." for room in ROOMS))


@cache
def _locator() -> ComponentLocator:
    # As MONAI itself finds a bare name.
    return ComponentLocator(excludes=["unet_pipe"])
