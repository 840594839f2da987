# SPDX-License-Identifier: Apache-2.0
"""bfloat16 where the machine computes faster with it: GPUs, and CPUs with instructions for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from monai.inferers import Inferer
from torch.overrides import TorchFunctionMode

__all__ = ["MixedPrecisionInferer", "fast_bfloat16"]


def fast_bfloat16() -> bool:
    """Whether bfloat16 is worth it here: on a GPU, or a CPU with AVX512-BF16 or AMX (measured: 1.5 to 2 times a step).

    Without such instructions a CPU emulates bfloat16 and gets slower.
    """
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    # PyTorch before 2.10 does not tell; float32 is right everywhere.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


class _ShallowConvolutions(TorchFunctionMode):
    """Computes 3D convolutions of volumes that are two voxels deep in float32.

    oneDNN 3.12 (PyTorch 2.13, a CPU with AVX512-BF16 or AMX) leaves part of such a convolution's weight gradient
    unwritten in bfloat16, so that it holds whatever was in that memory; any other depth is right.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.conv3d and args[0].shape[-3] == 2:
            with torch.autocast("cpu", enabled=False):
                return func(args[0].float(), *args[1:], **(kwargs or {}))
        return func(*args, **(kwargs or {}))


class MixedPrecisionInferer(Inferer):
    """Runs another inferer under autocast to bfloat16, and hands on float32.

    MONAI's ``amp`` of trainers and evaluators knows CUDA alone. bfloat16 has float32's range, so that no gradient
    scaler is needed; parameters, losses, gradients and optimiser stay float32.

    Args:
        inferer: the one to run, for example ``SimpleInferer``.
        enabled: False: run it as it is.

    """

    def __init__(self, inferer: Inferer, enabled: bool = True) -> None:
        super().__init__()
        self.inferer = inferer
        self.enabled = enabled

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """``inferer(inputs, network, ...)``; a tensor, or a dictionary of tensors, in float32."""
        if not self.enabled:
            return self.inferer(inputs, network, *args, **kwargs)
        volumes_on_cpu = inputs.device.type == "cpu" and inputs.ndim == 5
        shallow = _ShallowConvolutions() if volumes_on_cpu else nullcontext()
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16), shallow:
            out = self.inferer(inputs, network, *args, **kwargs)
        if isinstance(out, dict):
            return {name: value.float() for name, value in out.items()}
        return out.float()
