# SPDX-License-Identifier: Apache-2.0
"""Several processes, one a GPU (or any number on the CPU, to try it out), as the multi_gpu overlays start them."""

from __future__ import annotations

import logging
import os
import time
from datetime import timedelta

import torch
import torch.distributed as dist
from ignite import distributed as idist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from ctan_networks.errors import ConfigError
from ctan_networks.processes import rank

__all__ = [
    "end_processes",
    "is_not_rank0",
    "local_device",
    "others_go_on",
    "others_wait",
    "start_processes",
    "wrap",
]

logger = logging.getLogger(__name__)

ENVIRONMENT = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
COMMAND = (
    "torchrun --standalone --nnodes=1 --nproc_per_node=2 -m monai.bundle run"
    " --config_file \"['configs/train.json','configs/multi_gpu_train.json']\""
)
# The first process may decode, convert or inspect a whole data set while the others wait.
PATIENCE = timedelta(hours=2)

_started_here = False


def start_processes() -> None:
    """Join the processes that ``torchrun`` started, by NCCL on GPUs and by gloo on the CPU.

    Where a process group is there already, made by another launcher, it is taken as it is. From then on only the first
    process logs what is less than a warning.

    Raises:
        ConfigError: when ``torchrun`` did not start this process, or there are more processes than GPUs.
    """
    global _started_here  # who made the group ends it
    device = local_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        backend, bound = ("nccl", device) if device.type == "cuda" else ("gloo", None)
        dist.init_process_group(backend, timeout=PATIENCE, device_id=bound)
        _started_here = True
    # Ignite looks at the group with a call in which all processes take part, at its first use: not only of one of them.
    idist.sync()
    if rank() > 0:
        for handler in logging.getLogger().handlers:
            handler.setLevel(max(handler.level, logging.WARNING))
    logger.info("%d processes (%s), this is number %d.", dist.get_world_size(), dist.get_backend(), rank())


def local_device() -> torch.device:
    """The GPU of this process, ``LOCAL_RANK`` of ``torchrun``'s environment; the CPU where there are none.

    Raises:
        ConfigError: as :py:func:`start_processes`.
    """
    needed = ("LOCAL_RANK",) if dist.is_available() and dist.is_initialized() else ENVIRONMENT
    missing = [name for name in needed if name not in os.environ]
    if missing:
        raise ConfigError(f"several processes are started by torchrun ({', '.join(missing)} is not set): {COMMAND}")
    if not torch.cuda.is_available():
        return torch.device("cpu")
    index, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if index >= count:
        raise ConfigError(f"process {index} of this machine has no GPU, there are {count}: --nproc_per_node={count}")
    return torch.device("cuda", index)


def is_not_rank0() -> bool:
    """Whether another process than this one writes and logs."""
    return rank() > 0


def others_wait() -> None:
    """Let the first process go ahead; the others wait in here until it calls :py:func:`others_go_on`.

    For what is written once and then read: phantoms, converted cases, the list of parts.
    """
    if rank() > 0:
        dist.barrier()


def others_go_on() -> None:
    """End what :py:func:`others_wait` began."""
    if rank() == 0:
        dist.barrier()


def wrap(network: nn.Module, device: torch.device) -> DistributedDataParallel:
    """The network whose gradients are averaged over the processes; parameters and their names in ``network`` stay.

    On GPUs batch norm takes its statistics over all processes (``SyncBatchNorm``, put in place of the layers). The CPU
    has no such layer: there statistics are those of each process, which the log says.

    Args:
        network: on the device.
        device: of this process.
    """
    if any(isinstance(layer, _BatchNorm) for layer in network.modules()):
        if device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(network)
        elif rank() == 0:
            logger.warning("batch norm on the CPU: each process has statistics of its own part of the batch.")
    return DistributedDataParallel(network, device_ids=[device] if device.type == "cuda" else None)


def end_processes() -> None:
    """Leave the process group that :py:func:`start_processes` made; one that was there before stays."""
    global _started_here
    if _started_here and dist.is_initialized():
        gloo = dist.get_backend() == "gloo"
        dist.destroy_process_group()
        if gloo:
            # Its threads outlive the group (PyTorch 2.13: a DistributedDataParallel keeps them) and may still hold a
            # tensor, which they give back with Python's lock. A process that ends before they have is aborted.
            time.sleep(0.5)
        idist.sync()  # Ignite remembers the group, and would ask it at the next metric
    _started_here = False
