# SPDX-License-Identifier: Apache-2.0
"""Figures of a report. Matplotlib's object interface only: no window system, no state between figures."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from ctan_networks.reports.views import PLANES, CaseView

__all__ = ["draw_dvh", "draw_history", "draw_slices", "to_png", "to_uri"]

WINDOW_LEVEL_HU, WINDOW_WIDTH_HU = 40.0, 400.0
DOSE_COLOURS, DIFFERENCE_COLOURS = "turbo", "RdBu_r"
# Dose washes leave out what is low enough to hide the anatomy without saying anything.
WASH_FROM = 0.1
# Letters at the left, right, top and bottom edge of each plane, given the display orientation of views.py.
EDGES = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}
SOLID: Any = "-"
DASHED: Any = (0, (3, 1.5))


def draw_slices(view: CaseView, structures: Sequence[str]) -> Figure:
    """Axial, coronal and sagittal slices: CT with contours and, where there is a dose, its wash.

    Columns are CT with contours (reference solid, prediction dashed), reference dose, predicted dose, and prediction
    minus reference. With both doses rows are planes, else planes stand beside each other.
    """
    dosed = [key for key in ("reference_dose", "predicted_dose") if f"axial/{key}" in view.slices]
    panels = ["contours", *dosed, *(["difference"] if len(dosed) == 2 else [])]
    sizes = {plane: _size_mm(view, plane) for plane in PLANES}
    if len(panels) == 1:
        figure, axes = _side_by_side(sizes)
    else:
        figure, axes = _grid(sizes, panels)
    top = max((float(np.nanmax(view.slices[f"{p}/{k}"])) for p in PLANES for k in dosed), default=0.0) or 1.0
    limit = _difference_limit(view) if "difference" in panels else 1.0
    for plane in PLANES:
        for panel in panels:
            _draw_panel(axes[plane, panel], view, plane, panel, top, limit)
    for panel, axis in {panel: axes["axial", panel] for panel in panels if len(panels) > 1}.items():
        axis.set_title(_title(panel), fontsize=10)
    if dosed:
        _colour_bars(figure, axes, panels, top, limit)
    _structure_legend(figure, view, structures)
    return figure


def draw_dvh(view: CaseView, structures: Sequence[str]) -> Figure:
    """Cumulative dose-volume histograms of the reference structures; reference dose solid, predicted dose dashed."""
    figure = Figure(figsize=(7.4, 4.2), layout="constrained")
    axis = figure.subplots()
    handles = []
    for s, name in enumerate(structures):
        for key, curves in view.curves.items():
            if not np.isnan(curves[s]).all():
                style = SOLID if key == "reference_dose" else DASHED
                axis.plot(view.dose_edges, curves[s], linestyle=style, color=colour(s), linewidth=1.5)
        if any(not np.isnan(curves[s]).all() for curves in view.curves.values()):
            handles.append(Line2D([], [], color=colour(s), label=name))
    handles += [
        Line2D([], [], color="black", linestyle=SOLID, label="reference dose"),
        Line2D([], [], color="black", linestyle=DASHED, label="predicted dose"),
    ]
    axis.set(xlabel="Dose (Gy)", ylabel="Volume (%)", ylim=(0, 101), xlim=(0, float(view.dose_edges[-1])))
    axis.grid(alpha=0.3)
    figure.legend(handles=handles, loc="outside right center", fontsize=9, frameon=False)
    return figure


def draw_history(path: str | os.PathLike) -> Figure | None:
    """Learning curves from a history file of training (CSV: epoch, name, value); None when it holds no value.

    Names that start with ``loss`` share a panel, as do those that start with ``weight``; each other name, a validation
    score, has its own, since their units differ.
    """
    history = pd.read_csv(path, dtype={"name": str}).dropna()
    if history.empty:
        return None
    panels: dict[str, list[str]] = {}
    for name in history["name"].unique():
        prefix = name.split("_")[0].split("/")[0]
        title = {"loss": "training loss", "weight": "weight of the task"}.get(prefix, name)
        panels.setdefault(title, []).append(name)
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.7 * columns, 2.5 * rows), layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axis, (title, names) in zip(axes, sorted(panels.items(), key=lambda p: p[0] != "training loss"), strict=False):
        for name in names:
            curve = history[history["name"] == name].sort_values("epoch")
            marker = "o" if len(curve) < 25 else None
            label = name.removeprefix("loss_").removeprefix("weight_")
            axis.plot(curve["epoch"], curve["value"], marker=marker, markersize=3, linewidth=1.3, label=label)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("epoch", fontsize=9)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
        if names != [title]:
            axis.legend(fontsize=8, edgecolor="none")
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    return figure


def to_png(figure: Figure, dpi: int = 110) -> bytes:
    """The figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=dpi, facecolor="white")
    return buffer.getvalue()


def to_uri(figure: Figure, dpi: int = 110) -> str:
    """The figure as a ``data:`` address that a page can hold in itself."""
    return "data:image/png;base64," + base64.b64encode(to_png(figure, dpi)).decode("ascii")


def colour(index: int) -> Any:
    """Colour of a structure: the same in every figure of a report."""
    # Told from each other on the grey CT as on white paper.
    palette = [
        "#e6194b",
        "#3cb44b",
        "#e0b400",
        "#4f7bff",
        "#f58231",
        "#22c3e6",
        "#f032e6",
        "#b5804d",
        "#86c400",
        "#b86bff",
    ]
    return palette[index] if index < len(palette) else colormaps["tab20"](index % 20)


def _size_mm(view: CaseView, plane: str) -> tuple[float, float]:
    """Width and height of a plane."""
    _, rows, columns = PLANES[plane]
    height, width = view.slices[f"{plane}/image"].shape[1:]
    return width * view.spacing[columns], height * view.spacing[rows]


def _side_by_side(sizes: dict[str, tuple[float, float]]) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    widths = [w for w, _ in sizes.values()]
    scale = 10.5 / sum(widths)
    height = scale * max(h for _, h in sizes.values())
    figure = Figure(figsize=(11, height + 0.6), layout="constrained")
    axes = figure.subplots(1, len(sizes), width_ratios=widths)
    return figure, {(plane, "contours"): axis for plane, axis in zip(sizes, axes, strict=False)}


def _grid(sizes: dict[str, tuple[float, float]], panels: list[str]) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    heights = [h for _, h in sizes.values()]
    scale = 10.4 / (len(panels) * max(w for w, _ in sizes.values()))
    figure = Figure(figsize=(11, min(scale * sum(heights), 14) + 1.3), layout="constrained")
    axes = figure.subplots(len(sizes), len(panels), height_ratios=heights)
    return figure, {(plane, panel): axes[r, c] for r, plane in enumerate(sizes) for c, panel in enumerate(panels)}


def _draw_panel(axis: Axes, view: CaseView, plane: str, panel: str, top: float, limit: float) -> None:
    width, height = _size_mm(view, plane)
    extent = (0.0, width, height, 0.0)
    axis.set(xticks=[], yticks=[], facecolor="black")
    low = WINDOW_LEVEL_HU - WINDOW_WIDTH_HU / 2
    image = view.slices[f"{plane}/image"][0]
    axis.imshow(image, cmap="gray", vmin=low, vmax=low + WINDOW_WIDTH_HU, extent=extent, interpolation="bilinear")
    if panel == "contours":
        _contours(axis, view, plane, "reference_segmentation", SOLID, extent)
        _contours(axis, view, plane, "predicted_segmentation", DASHED, extent)
    elif panel == "difference":
        change = view.slices[f"{plane}/predicted_dose"][0] - view.slices[f"{plane}/reference_dose"][0]
        shown = np.ma.masked_where(~(np.abs(change) >= WASH_FROM * limit), change)
        axis.imshow(shown, cmap=DIFFERENCE_COLOURS, vmin=-limit, vmax=limit, extent=extent, alpha=0.8)
    else:
        dose = view.slices[f"{plane}/{panel}"][0]
        shown = np.ma.masked_where(~(dose >= WASH_FROM * top), dose)
        axis.imshow(shown, cmap=DOSE_COLOURS, vmin=0, vmax=top, extent=extent, alpha=0.6)
    edge_letters(axis, plane)


def edge_letters(axis: Axes, plane: str) -> None:
    """Say on a slice in display orientation which side of the patient each edge is."""
    left, right, up, down = tuple(EDGES[plane])
    for letter, x, y in ((left, 0.03, 0.5), (right, 0.97, 0.5), (up, 0.5, 0.95), (down, 0.5, 0.05)):
        text = axis.text(x, y, letter, transform=axis.transAxes, color="white", fontsize=8, ha="center", va="center")
        text.set_path_effects([withStroke(linewidth=2, foreground="black")])


def _contours(axis: Axes, view: CaseView, plane: str, key: str, style: Any, extent: tuple[float, ...]) -> None:
    masks = view.slices.get(f"{plane}/{key}")
    for s, mask in enumerate(masks if masks is not None else []):
        if mask.any():
            rows, columns = mask.shape
            # A rim of zeros closes the contour of a structure that reaches the edge of the picture.
            x = (np.arange(-1, columns + 1) + 0.5) * extent[1] / columns
            y = (np.arange(-1, rows + 1) + 0.5) * extent[2] / rows
            drawn = axis.contour(x, y, np.pad(mask, 1), levels=[0.5], colors=[colour(s)], linewidths=1.2)
            drawn.set_linestyle(style)
    axis.set(xlim=extent[:2], ylim=extent[2:])


def _difference_limit(view: CaseView) -> float:
    change = [np.abs(view.slices[f"{p}/predicted_dose"] - view.slices[f"{p}/reference_dose"]).ravel() for p in PLANES]
    # A few voxels at a penumbra would flatten the rest.
    return max(1.0, float(np.ceil(np.nanpercentile(np.concatenate(change), 99))))


def _title(panel: str) -> str:
    return {
        "contours": "CT and structures",
        "reference_dose": "reference dose",
        "predicted_dose": "predicted dose",
        "difference": "prediction − reference",
    }[panel]


def _colour_bars(figure: Figure, axes: Any, panels: list[str], top: float, limit: float) -> None:
    dosed = [p for p in panels if p.endswith("_dose")]
    bars = [(dosed, Normalize(0, top), DOSE_COLOURS, "neither", "Gy")]
    if "difference" in panels:
        bars.append((["difference"], Normalize(-limit, limit), DIFFERENCE_COLOURS, "both", "Gy"))
    for columns, norm, colours, extend, label in bars:
        under = [axes[plane, column] for plane in PLANES for column in columns]
        bar = figure.colorbar(
            ScalarMappable(norm, colours),
            ax=under,
            location="bottom",
            extend=extend,
            aspect=24 * len(columns),
            pad=0.01,
        )
        bar.set_label(label, fontsize=9)
        bar.ax.tick_params(labelsize=8)


def _structure_legend(figure: Figure, view: CaseView, structures: Sequence[str]) -> None:
    keys = [k for k in ("reference_segmentation", "predicted_segmentation") if f"axial/{k}" in view.slices]
    present = {s for p in PLANES for k in keys for s, mask in enumerate(view.slices[f"{p}/{k}"]) if mask.any()}
    handles = [Line2D([], [], color=colour(s), label=name) for s, name in enumerate(structures) if s in present]
    lines: dict[str, Any] = {"reference_segmentation": SOLID, "predicted_segmentation": DASHED}
    handles += [Line2D([], [], color="black", linestyle=lines[k], label=k.removesuffix("_segmentation")) for k in keys]
    if present:
        figure.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=9, frameon=False)
