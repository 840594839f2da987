# SPDX-License-Identifier: Apache-2.0
"""CTAN beside MONAI's SegResNet, DynUNet and SwinUNETR with the same number of outputs.

One network with 11 outputs (10 structures, a dose) is what a user would take instead. The peers have MONAI's defaults,
but for DynUNet, which has none (nnU-Net's kernels and strides, 32 to 320 filters), and SwinUNETR (feature size 24).
Peaks are of processes of their own, above what they had before.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from common import in_a_process, interleaved, parser, peak_memory, ratio, reset_peak, show, spread
from inference import make
from monai.networks.nets import DynUNet, SegResNet, SwinUNETR
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

OUTPUTS = 11


def _dynunet() -> nn.Module:
    kernels, strides = [[3, 3, 3]] * 6, [1, 2, 2, 2, 2, 2]
    return DynUNet(3, 1, OUTPUTS, kernels, strides, strides[1:], filters=[32, 64, 128, 256, 320, 320])


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "CTAN (openkbp_ctan)": lambda: make("openkbp_ctan", "ctan", None, None),
    "SegResNet": lambda: SegResNet(3, init_filters=8, in_channels=1, out_channels=OUTPUTS),
    "SegResNet, 16 filters": lambda: SegResNet(3, init_filters=16, in_channels=1, out_channels=OUTPUTS),
    "DynUNet": _dynunet,
    "SwinUNETR, 24": lambda: SwinUNETR(in_channels=1, out_channels=OUTPUTS, feature_size=24),
}


def peak(name: str, side: int, training: bool) -> float:
    """MiB above what the process had before, of a forward pass, or of forward and backward."""
    network = NETWORKS[name]().train(training)
    image = torch.randn(1, 1, side, side, side)
    before = reset_peak()
    if training:
        network(image).mean().backward()
    else:
        with torch.no_grad():
            network(image)
    return peak_memory() - before


def main() -> None:
    """Print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=3)
    given = arguments.parse_args()
    side = 64 if given.quick else 128
    names = list(NETWORKS)[:2] if given.quick else list(NETWORKS)
    image = torch.randn(1, 1, side, side, side)
    networks = {name: NETWORKS[name]().eval() for name in names}
    flops = {}
    with torch.no_grad():
        for name, network in networks.items():
            with FlopCounterMode(display=False) as counter:
                network(image)
            flops[name] = counter.get_total_flops() / 1e9
        rounds = 1 if given.quick else given.rounds
        times = interleaved({name: partial(n, image) for name, n in networks.items()}, rounds)
    rows = [
        (
            name,
            sum(p.numel() for p in network.parameters()) / 1e6,
            f"{flops[name]:.0f}",
            spread(times[name]),
            ratio(times[name], times[names[0]]),
            f"{in_a_process(peak, name, side, False):.0f}",
            f"{in_a_process(peak, name, side, True):.0f}",
        )
        for name, network in networks.items()
    ]
    header = ["network", "parameters (M)", "GFLOP", "forward (s): median (range)", "of CTAN's"]
    show(f"CTAN and its peers, {side}^3", [*header, "peak, inference (MiB)", "peak, training step (MiB)"], rows)


if __name__ == "__main__":
    main()
