# SPDX-License-Identifier: Apache-2.0
"""Pictures of one case: slices of a volume, or a photograph, with outlines and maps over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from nibabel import orientations
from PIL import Image

__all__ = ["PLANES", "Outline", "Panel", "cut", "display_spacing", "draw_panels", "map_panels", "to_display"]

# Index axes grow to the patient's left, posterior and inferior, so that every plane below is shown by a plain transpose
# with the first row on top: axial anterior up and patient's right on the left, coronal and sagittal superior up.
DISPLAY_AXCODES = "LPI"
# Plane: (axis of the display volume that is cut, axis of the rows, axis of the columns).
PLANES = {"axial": (2, 1, 0), "coronal": (1, 2, 0), "sagittal": (0, 2, 1)}
PHOTO = "photo"  # the one plane of a two-dimensional image
# Letters at the left, right, top and bottom edge of each plane.
EDGES = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}
BODY_HU = -500.0
MARGIN_MM = 15.0
SIDE = 256  # greatest side of a photograph, in pixels
MAP_COLOURS, DIFFERENCE_COLOURS = "turbo", "RdBu_r"
# A wash leaves out what is low enough to hide the image without saying anything.
WASH_FROM = 0.1


class Outline(NamedTuple):
    """The outline of one mask ``[rows, columns]``."""

    mask: np.ndarray
    colour: Any
    style: Any


class Panel(NamedTuple):
    """An image in each plane with what lies over it.

    Attributes:
        title: of the panel; may be empty.
        images: plane to ``[rows, columns]``, or ``[rows, columns, 3]``.
        sizes: plane to width and height in mm, of a photograph in pixels.
        outlines: plane to outlines.
        overlays: plane to ``[rows, columns]``, transparent where NaN; any resolution.
        colours: colour map of the overlays.
        limits: values of its two ends.
        alpha: of the overlays.
        fading: whether an overlay is as opaque as it is high.
        unit: written at a colour bar; None: no bar. Neighbours with the same colours and limits share one.
        window: values of the image that are black and white; None: those of the image.
    """

    title: str
    images: Mapping[str, np.ndarray]
    sizes: Mapping[str, tuple[float, float]]
    outlines: Mapping[str, Sequence[Outline]] = {}
    overlays: Mapping[str, np.ndarray] = {}
    colours: str = MAP_COLOURS
    limits: tuple[float, float] = (0.0, 1.0)
    alpha: float = 0.6
    fading: bool = False
    unit: str | None = None
    window: tuple[float, float] | None = None


def to_display(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """View of a channel-first volume whose index axes grow to the patient's left, posterior and inferior.

    Args:
        array: ``[channels, i, j, k]``.
        affine: ``[4, 4]``, voxel indices to RAS millimetres. An oblique volume is shown by the nearest permutation and
            flips of its axes, without resampling.

    Returns:
        ``[channels, left, posterior, inferior]``; shares memory with ``array``.
    """
    return np.moveaxis(orientations.apply_orientation(np.moveaxis(array, 0, -1), _orientation(affine)), -1, 0)


def display_spacing(affine: np.ndarray) -> np.ndarray:
    """Voxel size in mm along the axes of :py:func:`to_display`."""
    size = np.empty(3)
    size[_orientation(affine)[:, 0].astype(int)] = np.linalg.norm(affine[:3, :3], axis=0)
    return size


def slice_plane(volume: np.ndarray, plane: str, index: int) -> np.ndarray:
    """One slice ``[channels, rows, columns]`` of a volume in display orientation; row 0 is shown on top."""
    return volume.take(index, axis=PLANES[plane][0] + 1).swapaxes(1, 2)


def cut(
    volumes: Mapping[str, np.ndarray], affine: np.ndarray | None = None, focus: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """What a picture shows of a case's volumes, small enough to keep.

    Args:
        volumes: channel-first volumes on one grid, ``image`` among them; or two-dimensional images whose first spatial
            axis is x. Masks are boolean.
        affine: ``[4, 4]``, voxel indices to RAS millimetres.
        focus: mask ``[*spatial]`` of the region through whose centre the planes go; None: the middle of the volume.

    Returns:
        ``[channels, rows, columns]`` by ``"<plane>/<key>"``, and ``spacing``, mm of a voxel along left, posterior and
        inferior. Planes are cut to the body, so that a figure is not mostly air. Photographs become
        ``[3, rows, columns]`` of at most 256 pixels a side.
    """
    if volumes["image"].ndim == 3:
        return {f"{PHOTO}/{key}": _shrunk(volume, key == "image") for key, volume in volumes.items()}
    affine = np.eye(4) if affine is None else affine
    spacing = display_spacing(affine)
    shown = {key: to_display(volume, affine) for key, volume in volumes.items()}
    center = [n // 2 for n in shown["image"].shape[1:]]
    if focus is not None and focus.any():
        center = [round(float(c.mean())) for c in np.nonzero(to_display(focus[None], affine)[0])]
    kept = {"spacing": spacing}
    for plane, (axis, rows, columns) in PLANES.items():
        box = _body_box(slice_plane(shown["image"], plane, center[axis])[0], spacing[[rows, columns]])
        for key, volume in shown.items():
            part = slice_plane(volume, plane, center[axis])[:, box[0], box[1]]
            kept[f"{plane}/{key}"] = part.copy() if part.dtype == bool else part.astype(np.float32)
    return kept


def planes_of(kept: Mapping[str, np.ndarray], key: str) -> dict[str, np.ndarray]:
    """Plane to what was kept of a volume; an image of one channel loses its channel axis."""
    found = {name.split("/")[0]: value for name, value in kept.items() if name.endswith(f"/{key}")}
    if key != "image":
        return found
    return {plane: value[0] if len(value) == 1 else np.moveaxis(value, 0, -1) for plane, value in found.items()}


def sizes_of(kept: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """Plane to its width and height, in mm; of a photograph in pixels."""
    sizes = {}
    for plane, image in planes_of(kept, "image").items():
        _, rows, columns = PLANES.get(plane, (0, 0, 0))
        spacing = kept.get("spacing", np.ones(3))
        sizes[plane] = (image.shape[1] * float(spacing[columns]), image.shape[0] * float(spacing[rows]))
    return sizes


def map_panels(kept: Mapping[str, np.ndarray], task: str, unit: str) -> list[Panel]:
    """Panels of a map: reference, prediction and, where there are both, their difference."""
    name = task.replace("_", " ")
    maps = {
        f"{word} {name}": {plane: values[0] for plane, values in planes_of(kept, f"{word}_{task}").items()}
        for word in ("reference", "predicted")
    }
    maps = {title: planes for title, planes in maps.items() if planes}
    every = np.concatenate([np.ravel(v) for planes in maps.values() for v in planes.values()]) if maps else np.zeros(1)
    top = float(np.nanmax(np.abs(every), initial=0.0)) or 1.0
    signed = float(np.nanmin(every, initial=0.0)) < -WASH_FROM * top
    looks = dict.fromkeys(maps, (-top if signed else 0.0, top))
    if len(maps) == 2:
        reference, predicted = maps.values()
        change = {plane: predicted[plane] - reference[plane] for plane in reference}
        # A few voxels at a steep gradient would flatten the rest.
        differences = np.abs(np.concatenate([values.ravel() for values in change.values()]))
        limit = max(float(np.nanpercentile(differences, 99)), top / 50)
        maps["prediction − reference"], looks["prediction − reference"] = change, (-limit, limit)
    images, sizes = planes_of(kept, "image"), sizes_of(kept)
    panels = []
    for title, (low, high) in looks.items():
        wash = {plane: np.where(np.abs(v) >= WASH_FROM * high, v, np.nan) for plane, v in maps[title].items()}
        colours, alpha = (DIFFERENCE_COLOURS, 0.8) if low < 0 else (MAP_COLOURS, 0.6)
        panels.append(Panel(title, images, sizes, {}, wash, colours, (low, high), alpha, unit=unit))
    return panels


def draw_panels(panels: Sequence[Panel], named: bool = True, legend: Sequence[Any] = ()) -> Figure:
    """Draw panels side by side, a row for each plane; fewer panels than planes below each other instead.

    Args:
        panels: what to draw; all have the same planes.
        named: whether to say on slices which side of the patient each edge is.
        legend: handles of a legend below.
    """
    sizes = panels[0].sizes
    below = len(panels) < len(sizes)
    widths, heights = ([size[k] for size in sizes.values()] for k in (0, 1))
    width = 11.0 if len(sizes) > 1 else 3.6 * len(panels)
    if below:
        height = len(panels) * (0.955 * width / sum(widths) * max(heights) + (0.3 if panels[0].title else 0)) + 0.3
        ratios: dict[str, Any] = {"width_ratios": widths}
    else:
        height = min(0.945 * width / (len(panels) * max(widths)) * sum(heights), 14)
        ratios = {"height_ratios": heights}
    room = (
        (0.3 if legend else 0)
        + (0.3 if len(panels) > 1 and not below else 0)
        + (0.7 if any(panel.unit is not None for panel in panels) else 0)
    )
    figure = Figure(figsize=(width, height + room), layout="constrained")
    shape = (len(panels), len(sizes)) if below else (len(sizes), len(panels))
    axes = np.asarray(figure.subplots(*shape, squeeze=False, **ratios))
    axes = axes if below else axes.T
    for panel, line in zip(panels, axes, strict=True):
        for plane, axis in zip(sizes, line, strict=True):
            _draw(axis, panel, plane)
            if named and plane in EDGES:
                _edge_letters(axis, plane)
        line[0].set_title(panel.title, fontsize=10 if len(sizes) > 1 else 9, loc="left" if below else "center")
    _colour_bars(figure, panels, axes)
    if legend:
        figure.legend(handles=list(legend), loc="outside lower center", ncols=6, fontsize=9, frameon=False)
    return figure


def _draw(axis: Axes, panel: Panel, plane: str) -> None:
    size = panel.sizes[plane]
    extent = (0.0, size[0], size[1], 0.0)
    low, high = panel.window or (None, None)
    image, photo = panel.images[plane], plane == PHOTO
    axis.set(xticks=[], yticks=[], facecolor="black")
    axis.imshow(image, cmap="gray", vmin=low, vmax=high, extent=extent, interpolation="bilinear")
    if plane in panel.overlays:
        shown = np.ma.masked_invalid(panel.overlays[plane])
        alpha: Any = panel.alpha * shown.filled(0) if panel.fading else panel.alpha
        axis.imshow(shown, cmap=panel.colours, norm=Normalize(*panel.limits), extent=extent, alpha=alpha)
    for mask, colour, style in panel.outlines.get(plane, ()):
        if mask.any():
            rows, columns = mask.shape
            # A rim of zeros closes the outline of a mask that reaches the edge of the picture.
            x = (np.arange(-1, columns + 1) + 0.5) * size[0] / columns
            y = (np.arange(-1, rows + 1) + 0.5) * size[1] / rows
            line = axis.contour(x, y, np.pad(mask, 1), levels=[0.5], colors=[colour], linewidths=1.6 if photo else 1.2)
            line.set_linestyle(style)
            if photo:
                line.set_path_effects([withStroke(linewidth=2.8, foreground="black")])
    axis.set(xlim=extent[:2], ylim=extent[2:])
    if photo:
        axis.set_axis_off()


def _edge_letters(axis: Axes, plane: str) -> None:
    left, right, up, down = tuple(EDGES[plane])
    for letter, x, y in ((left, 0.03, 0.5), (right, 0.97, 0.5), (up, 0.5, 0.95), (down, 0.5, 0.05)):
        text = axis.text(x, y, letter, transform=axis.transAxes, color="white", fontsize=8, ha="center", va="center")
        text.set_path_effects([withStroke(linewidth=2, foreground="black")])


def _colour_bars(figure: Figure, panels: Sequence[Panel], axes: np.ndarray) -> None:
    shared: dict[tuple, list[int]] = {}
    for k, panel in enumerate(panels):
        if panel.unit is not None:
            shared.setdefault((panel.colours, panel.limits, panel.unit), []).append(k)
    for (colours, limits, unit), members in shared.items():
        extend = "both" if limits[0] < 0 else "neither"
        place: dict[str, Any] = {"location": "bottom", "aspect": 24 * len(members), "pad": 0.01, "extend": extend}
        bar = figure.colorbar(ScalarMappable(Normalize(*limits), colours), ax=axes[members].ravel().tolist(), **place)
        bar.set_label(unit, fontsize=9)
        bar.ax.tick_params(labelsize=8)


def _orientation(affine: np.ndarray) -> np.ndarray:
    target = orientations.axcodes2ornt(tuple(DISPLAY_AXCODES))
    return orientations.ornt_transform(orientations.io_orientation(affine), target)


def _body_box(image: np.ndarray, spacing: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of a slice round everything denser than air."""
    body = image > BODY_HU
    box = []
    for axis, size in enumerate(spacing):
        (hit,) = np.nonzero(body.any(axis=1 - axis))
        margin = round(MARGIN_MM / size)
        box.append(slice(max(0, hit[0] - margin), hit[-1] + margin + 1) if hit.size else slice(None))
    return box[0], box[1]


def _shrunk(image: np.ndarray, photo: bool) -> np.ndarray:
    """``[channels, W, H]`` as ``[channels, H, W]`` of at most 256 pixels a side; a photograph as uint8."""
    picture = image.swapaxes(1, 2)
    if photo and picture.dtype != np.uint8:
        low, high = float(picture.min()), float(picture.max())
        if low < 0 or high <= 1 or high > 255:
            picture = 255 * (picture - low) / ((high - low) or 1.0)
        picture = picture.round().astype(np.uint8)
    if photo and len(picture) == 1:
        picture = picture.repeat(3, axis=0)
    mask = picture.dtype == bool
    channels = [Image.fromarray(np.ascontiguousarray(255 * c.astype(np.uint8) if mask else c)) for c in picture]
    scale = min(1.0, SIDE / max(picture.shape[1:]))
    size = (max(1, round(picture.shape[2] * scale)), max(1, round(picture.shape[1] * scale)))
    shrunk = np.stack([np.asarray(channel.resize(size, Image.Resampling.BOX)) for channel in channels])
    return shrunk > 127 if mask else shrunk
