# SPDX-License-Identifier: Apache-2.0
"""What computes the network: PyTorch eager in float32, torch.compile, torch.export, ONNX Runtime; and bfloat16.

The same weights and the same input. A run of inference takes one by ``--backend NAME``. bfloat16 is no backend of its
own; its row shows what autocast would give.
"""

from __future__ import annotations

import tempfile
from functools import partial

import torch
from common import BUNDLES, interleaved, parser, ratio, show, spread
from inference import make

from ctan_networks.engines.backends import open_backend
from ctan_networks.tools.packing.network_files import export_network

TOLERANCE = 1e-4


@torch.no_grad()
def main() -> None:
    """Print a table for each bundle."""
    arguments = parser(__doc__)
    arguments.add_argument("--bundles", nargs="*", default=["ham10000_ctan", "openkbp_ctan"])
    arguments.add_argument("--rounds", type=int, default=20)
    given = arguments.parse_args()
    for name in given.bundles:
        size = (1, 3, 128, 128) if name == "ham10000_ctan" else (1, 1, 64, 96, 96)
        network = make(name, "ctan", None, None)
        weights = torch.load(BUNDLES / name / "models" / "model.pt", weights_only=True)
        network.load_state_dict(weights)
        image = torch.randn(size, generator=torch.Generator().manual_seed(0))
        compiled = make(name, "ctan", None, None)
        compiled.load_state_dict(weights)
        ways = {"eager": network}
        if not given.quick:
            compiled.compile()
            ways["compile"] = compiled
        with tempfile.TemporaryDirectory() as folder:
            for form in ("onnx",) if given.quick else ("pt2", "onnx"):
                ways[form] = open_backend(form, export_network(BUNDLES / name, form, folder)[0])
            times = interleaved(
                {
                    **{way: partial(module, image) for way, module in ways.items()},
                    "eager, bfloat16": partial(_half, network, image),
                },
                1 if given.quick else given.rounds,
                warm_up=1 if given.quick else 3,
            )
            reference = network(image)
            apart = {way: float((module(image) - reference).abs().max()) for way, module in ways.items()}
            apart["eager, bfloat16"] = float((_half(network, image) - reference).abs().max())
        show(
            f"Backends, {name}, {' x '.join(map(str, size))}. Target: one at least 1.2 times as fast in 2D",
            ["backend", "forward (ms): median (range)", "times as fast as eager", "largest difference", "tolerance"],
            [
                (
                    way,
                    spread(values, 1000, 1),
                    ratio(times["eager"], values),
                    f"{apart[way]:.1e}",
                    f"{TOLERANCE:.0e}" if way in ways else "-",
                )
                for way, values in times.items()
            ],
        )


def _half(network: torch.nn.Module, image: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return network(image).float()


if __name__ == "__main__":
    main()
