# SPDX-License-Identifier: Apache-2.0
"""A bundle's trained network as a file that runs without its source: torch.export, ONNX or TorchScript."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from monai.bundle import load
from torch import nn

from ctan_networks.engines.backends import FILES, open_backend
from ctan_networks.errors import ConfigError, DataError
from ctan_networks.utils import atomic_path
from ctan_networks.weight_files import read_weights

__all__ = ["export_network"]

logger = logging.getLogger(__name__)

# Largest difference from the network itself, in the network's own output (logits, dose in units of the prescription).
TOLERANCE = 1e-4
# Sides in units of the network's stride, beside the size that the file is made with: another size, another batch.
CHECKED = ((1, 4), (3, 3))


def export_network(
    bundle: str | os.PathLike,
    form: str = "onnx",
    output_dir: str | os.PathLike | None = None,
    checkpoint: str | os.PathLike | None = None,
) -> tuple[Path, float]:
    """Write the ``network_def`` of ``inference.json`` with its weights, and compare what it gives with the network.

    Batch and size are free: sides must be multiples of the network's stride, at least two of them, as the windows of
    the bundles are. Inference takes the file by ``--backend``.

    Args:
        bundle: the bundle's folder.
        form: "pt2" (torch.export), "onnx", or "ts" (TorchScript, which PyTorch has deprecated).
        output_dir: where ``model.pt2``, ``model.onnx`` or ``model.ts`` goes; default: the bundle's ``models``.
        checkpoint: the weights; default: the bundle's ``models/model.pt``.

    Returns:
        The file, and the largest difference of its outputs from the network's over three sizes.

    Raises:
        ConfigError: when there is no such form, or what it needs is not installed.
        DataError: when the folder is no bundle, or outputs differ by more than 1e-4; the file is then not written.

    """
    if form not in FILES:
        raise ConfigError(f"no export {form!r}: there are {', '.join(FILES)}.")
    folder = Path(bundle).resolve()
    metadata = folder / "configs" / "metadata.json"
    if not metadata.is_file():
        raise DataError(f"{folder} is no bundle: configs/metadata.json is not there.")
    channels = json.loads(metadata.read_text(encoding="utf-8"))["network_data_format"]["inputs"]["image"][
        "num_channels"
    ]
    network: Any = load(folder.name, bundle_dir=str(folder.parent), workflow_type="inference")
    if checkpoint is not None:
        network.load_state_dict(read_weights(checkpoint))
    network = network.cpu().eval()
    dims, stride = int(network.spatial_dims), int(network.stride)
    example = _image(2, channels, stride, 3, dims)
    target = Path(output_dir if output_dir is not None else folder / "models") / FILES[form]
    with atomic_path(target) as temporary:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what the exporters' own dependencies deprecate
            WRITERS[form](network, example, stride, temporary)
        again = open_backend(form, temporary)
        difference = 0.0
        for batch, sides in ((2, 3), *CHECKED):
            image = _image(batch, channels, stride, sides, dims)
            with torch.no_grad():
                difference = max(difference, float((again(image) - network(image)).abs().max()))
        if not difference <= TOLERANCE:
            raise DataError(
                f"{target.name} gives outputs that differ by {difference:.1e} from the network's: not kept."
            )
    logger.info("%s: outputs within %.1e of the network's", target, difference)
    return target, difference


def _image(batch: int, channels: int, stride: int, sides: int, dims: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sides)
    return torch.randn(batch, channels, *[stride * sides] * dims, generator=generator)


def _dynamic(example: torch.Tensor, stride: int) -> dict[int, Any]:
    from torch.export import Dim

    sides = {k: stride * Dim(f"side_{k - 1}", min=2, max=64) for k in range(2, example.ndim)}
    return {0: Dim("batch", min=1, max=64), **sides}


def _write_pt2(network: nn.Module, example: torch.Tensor, stride: int, file: Path) -> None:
    torch.export.save(torch.export.export(network, (example,), dynamic_shapes=(_dynamic(example, stride),)), file)


def _write_onnx(network: nn.Module, example: torch.Tensor, stride: int, file: Path) -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise ConfigError('ONNX needs onnx, onnxscript and onnxruntime: pip install "ctan-networks[onnx]".') from None
    for name in ("torch.onnx", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    program = torch.export.export(network, (example,), dynamic_shapes=(_dynamic(example, stride),))
    made = torch.onnx.export(
        program, dynamo=True, verbose=False, input_names=["image"], output_names=["pred"], external_data=False
    )
    assert made is not None
    made.save(str(file), external_data=False)


def _write_ts(network: nn.Module, example: torch.Tensor, stride: int, file: Path) -> None:
    torch.jit.script(network).save(str(file))


WRITERS: dict[str, Callable[[nn.Module, torch.Tensor, int, Path], None]] = {
    "pt2": _write_pt2,
    "onnx": _write_onnx,
    "ts": _write_ts,
}
