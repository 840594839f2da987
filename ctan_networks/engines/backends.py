# SPDX-License-Identifier: Apache-2.0
"""What computes the network at inference: PyTorch as it is, compiled, or an exported file."""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.reading import library_errors
from ctan_networks.weight_files import foreign_content

__all__ = ["FILES", "inference_network", "open_backend"]

# Forms of exported networks, and their files in a bundle's models/.
FILES = {"pt2": "model.pt2", "onnx": "model.onnx", "ts": "model.ts"}
IN_PYTORCH = ("eager", "compile")
# What torch.export.save writes: JSON, raw tensors, and one pickle.
PT2_MEMBERS = re.compile(
    r"[^/]+/(archive_format|archive_version|byteorder|\.data/(version|serialization_id)|models/model\.json"
    r"|data/(weights/(model_weights_config\.json|weight_\d+)|constants/(model_constants_config\.json|tensor_\d+))"
    r"|data/sample_inputs/model\.pt)"
)


def inference_network(
    backend: str, network: nn.Module, folder: str | os.PathLike, device: torch.device | str
) -> nn.Module:
    """The network that an inference runs.

    Args:
        backend: "eager": ``network``; "compile": the same, through ``torch.compile``; "pt2", "onnx", "ts": the file of
            that form, which ``python -m ctan_networks export`` wrote. A file holds its own weights.
        network: the bundle's network.
        folder: where the files are.
        device: where it runs.

    Raises:
        ConfigError: when there is no such backend.
        DataError: when the file is not there.

    """
    if backend in IN_PYTORCH:
        network = network.to(device)
        if getattr(network, "spatial_dims", 3) == 2:
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if backend == "compile":
            # In place: its weights are loaded afterwards, under the same names.
            network.compile()
        return network
    if backend not in FILES:
        raise ConfigError(f"no backend {backend!r}: there are {', '.join((*IN_PYTORCH, *FILES))}.")
    file = Path(folder) / FILES[backend]
    if not file.is_file():
        raise DataError(f"{file} is not there: make it with python -m ctan_networks export BUNDLE --form {backend}.")
    return open_backend(backend, file).to(device)


def open_backend(form: str, file: str | os.PathLike) -> nn.Module:
    """An exported network as a module.

    Raises:
        ConfigError: when there is no such form, or ONNX Runtime is not installed.
        DataError: when the file is something else, damaged, or an exported program with unrestricted pickles.

    """
    if form not in FILES:
        raise ConfigError(f"no exported form {form!r}: there are {', '.join(FILES)}.")
    objection = foreign_content(Path(file))
    if objection:
        raise DataError(f"{file} cannot be read: {objection}")
    if form == "pt2":
        refuse_pickles(file)
    with library_errors(file, f"Make it anew with python -m ctan_networks export BUNDLE --form {form}."):
        if form == "pt2":
            return FrozenNetwork(torch.export.load(file).module())
        return torch.jit.load(str(file), map_location="cpu") if form == "ts" else ONNXNetwork(file)


def refuse_pickles(file: str | os.PathLike) -> None:
    """Refuse an exported program with pickles that ``weights_only=True`` does not read.

    ``torch.export.load`` reads them all. Programs of this package have one, the example inputs. Without any it is a
    program all the same: open what you exported yourself.

    Args:
        file: the ``.pt2`` file, in the layout of PyTorch 2.8 and later.

    Raises:
        DataError: when it is no such file, or may hold other pickles.

    """
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            strange = [name for name in names if not PT2_MEMBERS.fullmatch(name) or names.count(name) > 1]
            if strange:
                raise ValueError(f"it holds {strange[0]!r}")
            for name in names:
                if name.endswith("_config.json"):
                    for entry in json.loads(archive.read(name))["config"].values():
                        if entry["use_pickle"] or not re.fullmatch(r"(weight|tensor)_\d+", entry["path_name"]):
                            raise ValueError(f"{name} names a pickle")
                elif name.endswith("/model.pt"):
                    torch.load(io.BytesIO(archive.read(name)), weights_only=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{file} is damaged, or holds pickles that weights_only=True does not read ({reason}): not opened. Make it"
            " anew with python -m ctan_networks export BUNDLE --form pt2."
        ) from error


class FrozenNetwork(nn.Module):
    """An exported program as a module that can be told to evaluate, which it does anyway.

    The module of an exported program refuses ``train()`` and ``eval()``, which engines call.

    Args:
        program: the module of the exported program.

    """

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        # In a tuple, so that it is no sub-module.
        self.held = (program,)

    def _apply(self, fn: Any, recurse: bool = True) -> FrozenNetwork:
        self.held[0]._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def forward(self, image: torch.Tensor) -> Any:
        # Exported programs take plain tensors.
        return self.held[0](torch.Tensor.as_subclass(image, torch.Tensor))


class ONNXNetwork(nn.Module):
    """A network in ONNX Runtime, on the CPU.

    Args:
        file: the ``.onnx`` file, with one input and one output.

    Raises:
        ConfigError: when ONNX Runtime is not installed.

    """

    def __init__(self, file: str | os.PathLike) -> None:
        super().__init__()
        try:
            import onnxruntime
        except ImportError:
            raise ConfigError('the backend onnx needs onnxruntime: pip install "ctan-networks[onnx]".') from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.session: Any = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        (out,) = self.session.run(None, {self.input: torch.as_tensor(image).detach().cpu().contiguous().numpy()})
        return torch.from_numpy(out).to(image.device)
