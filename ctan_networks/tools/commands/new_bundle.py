# SPDX-License-Identifier: Apache-2.0
"""Make a bundle for a data set of one's own."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from ctan_networks.tools.authoring.bundle import write_bundle
from ctan_networks.tools.authoring.plan import Plan
from ctan_networks.tools.authoring.tasks import parse_tasks

__all__ = ["new_bundle"]


def new_bundle(
    bundle: str,
    tasks: str,
    spatial_dims: int = 3,
    in_channels: int | None = None,
    architecture: str = "ctan",
    encoder: str = "plain",
    output_dir: str = ".",
    name: str | None = None,
) -> None:
    """Write the bundle ``<output_dir>/<bundle>`` and say what to run next.

    Args:
        bundle: name of the bundle and its folder; letters, digits and "_".
        tasks: separated by commas, each ``NAME:KIND:N`` with the kind segmentation (N structures), regression (N
            channels) or classification (N classes); names separated by "|" may stand for N, as in
            "seg:segmentation:liver|tumour,grade:classification:low|mid|high".
        spatial_dims: 3 for volumes, 2 for pictures.
        in_channels: channels of the images; default: 1 in 3D, 3 (RGB) in 2D.
        architecture: "ctan", "mtan", "hps" or "stl"; can be changed later by a word.
        encoder: "plain" or a backbone of MONAI's registry, such as "efficientnet-lite0" (pictures) or "resnet10"; can
            be changed later by a word.
        output_dir: folder in which the bundle's folder is made.
        name: what a reader calls it; default: made from the folder's name.

    """
    # Fire reads "a,b" without a colon as a tuple.
    text = tasks if isinstance(tasks, str) else ",".join(map(str, tasks))
    channels = in_channels if in_channels is not None else 3 if spatial_dims == 2 else 1
    words = name or str(bundle).replace("_", " ").capitalize()
    plan = Plan(str(bundle), words, spatial_dims, channels, parse_tasks(text), architecture, encoder)
    folder = write_bundle(plan, Path(output_dir) / plan.name)
    shown = os.path.relpath(folder)
    if shown.startswith(".."):
        shown = str(folder)
    run = "python -m monai.bundle run --config_file"
    train, evaluate, infer = (f"{shown}/configs/{file}.json" for file in ("train", "evaluate", "inference"))
    both = shlex.quote(f"['{train}','{evaluate}']") if " " in shown else f"\"['{train}','{evaluate}']\""
    print(
        f"Written to {shown}: configs/, docs/README.md, tests/ and phantoms with their list,"
        f" {shown}/phantom/cohort/cases.csv, which shows how a list of your own cases looks.\n\n"
        "Next, on the phantoms (about a minute), or on your cases with --dataset_dir LIST.csv behind each:\n\n"
        f"    {run} {shlex.quote(train)}\n"
        f"    {run} {both}\n"
        f"    {run} {shlex.quote(infer)}\n"
    )
