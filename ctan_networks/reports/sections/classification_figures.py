# SPDX-License-Identifier: Apache-2.0
"""Figures of a classification task over all cases: confusion matrix, ROC curves, reliability diagram."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ctan_networks.reports.figures import colour

__all__ = ["draw_confusion", "draw_reliability", "draw_roc"]

SIZE = 4.3  # inches a side of a panel


def draw_confusion(counts: np.ndarray, names: Sequence[str]) -> Figure:
    """Counts, and below each its share of the row in percent, which on the diagonal is the recall and gives the colour.

    Args:
        counts: ``[C, C]``, rows are the reference.
        names: of the classes.
    """
    counts = np.asarray(counts)
    size = counts.sum(1, keepdims=True)
    share = np.divide(counts, size, out=np.zeros(counts.shape), where=size > 0)
    side = max(SIZE, 0.5 * len(names) + 1)
    figure = Figure(figsize=(side, side), layout="constrained")
    axis = figure.subplots()
    axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        text = f"{count}\n{100 * share[row, column]:.0f} %" if count else "0"
        shade = "white" if share[row, column] > 0.55 else ("#8a93a0" if count == 0 else "black")
        axis.text(column, row, text, ha="center", va="center", fontsize=9 if len(names) < 5 else 7.5, color=shade)
    turned: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    long = max(len(name) for name in names) > 6 and len(names) > 3
    axis.set_xticks(range(len(names)), names, **(turned if long else {}))
    axis.set_yticks(range(len(names)), [f"{name} ({int(n)})" for name, n in zip(names, size[:, 0], strict=True)])
    axis.set(xlabel="predicted", ylabel="reference (number of cases)")
    axis.tick_params(length=0, labelsize=9)
    axis.spines[:].set_visible(False)
    axis.set_xticks(np.arange(1, len(names)) - 0.5, minor=True)
    axis.set_yticks(np.arange(1, len(names)) - 0.5, minor=True)
    axis.grid(which="minor", color="white", linewidth=2)
    axis.tick_params(which="minor", length=0)
    return figure


def draw_roc(curves: Sequence[tuple[str, int, np.ndarray, np.ndarray, float]]) -> Figure:
    """ROC curves with the areas below them in the legend.

    Args:
        curves: name and number of each class, false and true positive rates, area.
    """
    figure = Figure(figsize=(SIZE, SIZE), layout="constrained")
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color="#8a93a0", linestyle=":", linewidth=1)
    for name, k, false, true, area in curves:
        axis.plot(false, true, color=colour(k), linewidth=1.5, label=f"{name} {area:.3f}")
    axis.set(xlabel="1 − specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axis.set_aspect("equal")
    axis.grid(alpha=0.3)
    axis.legend(title="area", loc="lower right", fontsize=8.5, title_fontsize=8.5, framealpha=0.9, edgecolor="none")
    return figure


def draw_reliability(bins: Sequence[dict[str, Any]], ece: float) -> Figure:
    """Accuracy over the confidence of the predicted class, and below how many cases have that confidence.

    Args:
        bins: with ``low``, ``high``, ``n``, ``confidence`` and ``accuracy``.
        ece: expected calibration error.
    """
    figure = Figure(figsize=(SIZE, SIZE + 0.4), layout="constrained")
    axis, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    filled = [b for b in bins if b["n"]]
    left, width = [b["low"] for b in filled], [b["high"] - b["low"] for b in filled]
    axis.bar(left, [b["accuracy"] for b in filled], width, align="edge", color="#9cc3e6", edgecolor="white")
    axis.plot([0, 1], [0, 1], color="#8a93a0", linestyle=":", linewidth=1, label="perfectly calibrated")
    points = [[b[key] for b in filled] for key in ("confidence", "accuracy")]
    axis.plot(*points, color="#1f5f99", marker="o", markersize=3.5, linewidth=1, label="accuracy at mean confidence")
    axis.set(ylabel="accuracy", ylim=(0, 1.02))
    axis.set_title(f"ECE {ece:.3f}", fontsize=10)
    figure.legend(loc="outside lower center", fontsize=8.5, frameon=False, ncols=2)
    below.bar(left, [b["n"] for b in filled], width, align="edge", color="#9aa4b1", edgecolor="white")
    below.set(xlabel="confidence (probability of the predicted class)", ylabel="cases", xlim=(0, 1))
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    for each in (axis, below):
        each.grid(alpha=0.3)
        each.set_axisbelow(True)
    return figure
