# SPDX-License-Identifier: Apache-2.0
"""Figures on a page. Matplotlib's object interface only: no window system, no state between figures."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

__all__ = ["DASHED", "SOLID", "colour", "draw_dvh", "to_png", "to_uri"]

SOLID: Any = "-"
DASHED: Any = (0, (3, 1.5))

# Easy to tell apart on a grey CT as on white paper.
PALETTE = ["#e6194b", "#3cb44b", "#e0b400", "#4f7bff", "#f58231", "#22c3e6", "#f032e6", "#b5804d", "#86c400", "#b86bff"]


def to_png(figure: Figure, dpi: int = 110) -> bytes:
    """The figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=dpi, facecolor="white")
    return buffer.getvalue()


def to_uri(figure: Figure, dpi: int = 110) -> str:
    """The figure as a ``data:`` address, so that a page needs no other file."""
    return "data:image/png;base64," + base64.b64encode(to_png(figure, dpi)).decode("ascii")


def colour(index: int) -> Any:
    """Colour of a structure, class or method: the same in every figure of a report."""
    return PALETTE[index] if index < len(PALETTE) else colormaps["tab20"](index % 20)


def draw_dvh(
    structures: Mapping[str, Mapping[str, Any]], styles: Mapping[str, Any], top: float | None = None
) -> Figure:
    """Cumulative dose-volume histograms, one colour a structure.

    Args:
        structures: name to its curves: what they are of to doses in Gy and volumes in per cent.
        styles: what curves are of to their style of line; named in the legend.
        top: highest dose that is shown.
    """
    figure = Figure(figsize=(7.4, 4.2), layout="constrained")
    axis = figure.subplots()
    for s, curves in enumerate(structures.values()):
        for key, (dose, volume) in curves.items():
            axis.plot(dose, volume, linestyle=styles[key], color=colour(s), linewidth=1.5)
    handles = [Line2D([], [], color=colour(s), label=n) for s, n in enumerate(structures) if structures[n]]
    handles += [Line2D([], [], color="black", linestyle=style, label=key) for key, style in styles.items()]
    axis.set(xlabel="Dose (Gy)", ylabel="Volume (%)", ylim=(0, 101), xlim=(0, top))
    axis.grid(alpha=0.3)
    figure.legend(handles=handles, loc="outside right center", fontsize=9, frameon=False)
    return figure
