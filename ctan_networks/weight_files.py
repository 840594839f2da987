# SPDX-License-Identifier: Apache-2.0
"""Files of weights, whoever wrote them: read without unrestricted pickles, or refused with a word on what they are."""

from __future__ import annotations

import logging
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ctan_networks.errors import ConfigError

__all__ = ["foreign_content", "read_weights"]

logger = logging.getLogger(__name__)

# What DataParallel, DistributedDataParallel and torch.compile put before the names of parameters.
WRAPPERS = ("module.", "_orig_mod.")
SAVE = "Save network.state_dict() with torch.save."
FETCH = "Download the file itself"
SHOWN = 6


def read_weights(file: str | os.PathLike) -> dict[str, torch.Tensor]:
    """Read a flat state dict.

    Prefixes of DataParallel, DistributedDataParallel and torch.compile are taken away. Of a dictionary in which one
    entry alone is a state dict, such as ``{"state_dict": ..., "epoch": 3}``, that entry is taken.

    Args:
        file: as ``torch.save`` writes it; it is read with ``weights_only=True``.

    Returns:
        Names to tensors, on the CPU.

    Raises:
        ConfigError: when the file is not there, holds something else, or its values are not finite; names the file and
            says what to do.

    """
    path = Path(file)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not there"
        raise ConfigError(f"the weights {path} cannot be read: the file {what}. Give the path of a model.pt.")
    objection = foreign_content(path) or _onnx(path)
    if not objection:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # noqa: BLE001  a file of something else raises whatever it leads to
            objection = _unreadable(path, error)
    if objection:
        raise ConfigError(f"the weights {path} cannot be read: {objection}")
    weights = _without_wrappers(_state_dict(path, content))
    broken = [name for name, value in weights.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise ConfigError(
            f"the weights {path} cannot be used: {len(broken)} of its tensors are not finite ({broken[0]}). Give those"
            " of another epoch or training."
        )
    return weights


def foreign_content(path: Path) -> str:
    """What lies in place of weights or an exported network, by its first bytes, and what to do; empty when nothing."""
    start = _start(path)
    text = start.decode("utf-8", "ignore").lstrip("\ufeff \t\r\n").lower()
    if not start:
        return f"the file is empty. {FETCH} again."
    if text.startswith("version https://git-lfs"):
        return f"it is a Git LFS pointer. {FETCH}: git lfs pull."
    if text.startswith(("<!doctype", "<html", "<?xml")):
        return f"it is a web page, not the file that was asked for. {FETCH}, logged in where that is needed."
    if text.startswith(("{", "[")):
        return f"it is JSON, such as a server's answer. {FETCH}."
    if start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!")):
        return "it is a compressed archive. Unpack it, and give the file in it."
    if start.startswith(b"\x89HDF"):
        return f"it is an HDF5 file (Keras?). {SAVE}"
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
        return "it is a safetensors file. Load it with safetensors.torch.load_file, and save that with torch.save."
    return ""


def _onnx(path: Path) -> str:
    if path.suffix == ".onnx" or (_start(path).startswith(b"\x08") and b"pytorch" in _start(path)):
        return "it is an ONNX file. Give it in the bundle's models with --backend onnx, and here the model.pt."
    return ""


def _start(path: Path) -> bytes:
    with open(path, "rb") as stream:
        return stream.read(512)


def _unreadable(path: Path, error: Exception) -> str:
    """Why torch cannot read a file, in words of what it is."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if any(
            name.endswith(("constants.pkl", "archive_format", "serialized_exported_program.json")) for name in names
        ):
            return "it is an exported program. Give it in the bundle's models with --backend, and here the model.pt."
        if not any(name.endswith("data.pkl") for name in names):
            return "it is a zip archive without weights. Unpack it, and give the model.pt in it."
        return f"it holds more than tensors, such as a whole network, which may run code when it is opened. {SAVE}"
    if "Unsupported global" in str(error) or ("weights_only" in str(error) and "GLOBAL" in str(error)):
        return f"it holds more than tensors, such as a whole network, which may run code when it is opened. {SAVE}"
    return f"it is cut short, or no file of PyTorch ({type(error).__name__}). {FETCH} again."


def _state_dict(path: Path, content: Any) -> Mapping[str, torch.Tensor]:
    if _is_state_dict(content):
        return content
    if not isinstance(content, Mapping):
        raise ConfigError(f"the weights {path} cannot be used: the file holds a {type(content).__name__}. {SAVE}")
    inside = [name for name, value in content.items() if _is_state_dict(value)]
    if len(inside) == 1:
        logger.info("%s is a whole checkpoint: its entry %r is taken.", path, inside[0])
        return content[inside[0]]
    entries = ", ".join(map(str, list(content)[:SHOWN])) + (" ..." if len(content) > SHOWN else "")
    if {"objects", "epoch", "best_epoch"} <= content.keys():
        advice = f"It is what a training is resumed from: give {path.with_name('model.pt')}."
    else:
        advice = "Save the state dict that is meant alone, with torch.save."
    raise ConfigError(
        f"the weights {path} cannot be used: the file is no state dict, it has"
        f" {f'the entries {entries}' if content else 'no entry'}. {advice}"
    )


def _is_state_dict(value: Any) -> bool:
    tensors = isinstance(value, Mapping) and bool(value) and all(isinstance(v, torch.Tensor) for v in value.values())
    return tensors and all(isinstance(name, str) for name in value)


def _without_wrappers(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    names = list(weights)
    while (wrapper := next((w for w in WRAPPERS if all(name.startswith(w) for name in names)), None)) is not None:
        names = [name.removeprefix(wrapper) for name in names]
    return dict(zip(names, weights.values(), strict=True))
