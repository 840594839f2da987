# SPDX-License-Identifier: Apache-2.0
"""Learning curves of trainings."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

__all__ = ["draw_curves", "draw_history"]

# Epochs and values, and how they are drawn: colour, label.
Curve = tuple[pd.DataFrame, Mapping[str, Any]]


def draw_curves(panels: Mapping[str, Sequence[Curve]], columns: int = 3) -> Figure:
    """Curves over epochs.

    Args:
        panels: title of a panel to its curves: a table with ``epoch`` and ``value``, and settings of the line.
        columns: greatest number of panels beside each other.
    """
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.7 * columns, 2.5 * rows), layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axis, (title, curves) in zip(axes, panels.items(), strict=False):
        for curve, look in curves:
            points = curve.sort_values("epoch")
            marker = "o" if len(points) < 25 else None
            axis.plot(points["epoch"], points["value"], marker=marker, markersize=3, linewidth=1.3, **look)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("epoch", fontsize=9)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
        if any("label" in look for _, look in curves):
            axis.legend(fontsize=8, edgecolor="none")
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    return figure


def draw_history(path: str | os.PathLike) -> Figure | None:
    """Learning curves from a history file of training (CSV: epoch, name, value); None when it holds no value.

    Names that start with ``loss`` share a panel, as do those that start with ``weight``; each other name, a validation
    score, has its own, since their units differ.
    """
    history = pd.read_csv(path, dtype={"name": str}).dropna()
    shared = {"loss": "training loss", "weight": "weight of the task"}
    panels: dict[str, list[Curve]] = {}
    for name, curve in history.groupby("name", sort=False):
        prefix = str(name).split("_")[0].split("/")[0]
        label = {"label": str(name).removeprefix(f"{prefix}_")} if prefix in shared else {}
        panels.setdefault(shared.get(prefix, str(name)), []).append((curve, label))
    ordered = sorted(panels.items(), key=lambda panel: panel[0] != shared["loss"])
    return draw_curves(dict(ordered)) if panels else None
