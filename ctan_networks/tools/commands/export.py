# SPDX-License-Identifier: Apache-2.0
"""Export a bundle's network."""

from __future__ import annotations

from ctan_networks.tools.packing.network_files import export_network

__all__ = ["export"]


def export(bundle: str, form: str = "onnx", output_dir: str | None = None, checkpoint: str | None = None) -> str:
    """Write a bundle's trained network as one file, and check that it gives what the network gives (within 1e-4).

    Args:
        bundle: the bundle's folder.
        form: "pt2" (torch.export), "onnx" or "ts" (TorchScript).
        output_dir: default: the bundle's ``models``, where inference finds it by ``--backend``.
        checkpoint: the weights; default: the bundle's ``models/model.pt``.

    """
    file, difference = export_network(bundle, form, output_dir, checkpoint)
    return f"{file}: outputs within {difference:.1e} of the network's, over three sizes and batches"
