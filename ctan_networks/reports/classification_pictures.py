# SPDX-License-Identifier: Apache-2.0
"""Pictures of single cases: a photograph with outlines, or three slices of a volume, with Grad-CAM where asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from monai.data import MetaTensor
from PIL import Image

from ctan_networks.errors import DataError
from ctan_networks.reports.figures import DASHED, SOLID, edge_letters
from ctan_networks.reports.views import PLANES, display_spacing, slice_plane, to_display

__all__ = ["OUTLINES", "draw_photo", "draw_volume", "keep_display", "load_display"]

SIDE = 256  # greatest side of a picture, in pixels
# Reference and prediction, told from each other and from every skin.
OUTLINES: dict[str, tuple[str, Any]] = {"reference": ("#00e5ff", SOLID), "predicted": ("#ffe600", DASHED)}
SALIENCY_COLOURS = "inferno"
INPUT = "image"  # MONAI's engines keep the network's input under this key


def keep_display(
    path: str | os.PathLike,
    case: str,
    item: Mapping[str, Any],
    image_key: str,
    segmentation: str | None,
    with_input: bool,
) -> None:
    """Write what a picture of the case needs to an ``.npz`` file.

    Args:
        path: of the file.
        case: name, for messages.
        item: the case's output of the evaluation.
        image_key: key of the picture ``[3 or 1, W, H]``, whose first spatial axis is x, or of the volume
            ``[1, i, j, k]``.
        segmentation: name of the segmentation task, whose masks are kept of a photograph.
        with_input: also keep the network's input, to compute saliency.

    Raises:
        DataError: when there is no such picture, or no network's input where it is wanted.
    """
    image = item.get(image_key)
    if not isinstance(image, torch.Tensor) or image.ndim not in (3, 4) or image.shape[0] not in (1, 3):
        found = list(image.shape) if isinstance(image, torch.Tensor) else type(image).__name__
        raise DataError(
            f"{case}: '{image_key}' must be a picture [3, W, H] or a volume [1, i, j, k], found {found}; name "
            "the key of the image in image_key."
        )
    if with_input and INPUT not in item:
        raise DataError(
            f"{case}: no '{INPUT}', the network's input, to compute Grad-CAM of; give the report no network."
        )
    kept: dict[str, np.ndarray] = {}
    if image.ndim == 3:
        kept["photo"] = _photo(_array(image))
        masks = {kind: item.get(f"{kind}_{segmentation}") for kind in OUTLINES} if segmentation else {}
        for kind, mask in masks.items():
            if mask is not None and not bool(torch.as_tensor(mask).isnan().any()):
                height, width = kept["photo"].shape[:2]
                kept[kind] = _shrunk(255 * (_array(mask)[0].T > 0.5), width, height) > 127
    if with_input or image.ndim == 4:
        image = item[INPUT] if with_input else image
        # A volume that is only looked at can be coarse.
        step = [1 if with_input else -(-n // SIDE) for n in image.shape[1:]]
        kept["input"] = _array(image)[(slice(None), *(slice(None, None, n) for n in step))].astype(np.float16)
        if isinstance(image, MetaTensor) and image.ndim == 4:
            kept["affine"] = image.affine.detach().cpu().numpy().astype(float) @ np.diag([*step, 1.0])
    np.savez(path, **kept)  # type: ignore[arg-type]


def load_display(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read what :py:func:`keep_display` wrote: ``photo`` ``[H, W, 3]`` uint8 and boolean masks ``reference`` and
    ``predicted`` ``[H, W]``; ``input`` ``[channels, *spatial]`` and its ``affine``; each where there is one."""
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def draw_photo(kept: Mapping[str, np.ndarray], maps: Mapping[str, np.ndarray]) -> Figure:
    """A photograph with outlines (reference solid, prediction dashed), and beside it a panel for each saliency map.

    Args:
        kept: as :py:func:`load_display` gives it.
        maps: title to saliency ``[W, H]`` on the grid of the network's input, 0 to 1.
    """
    photo = kept["photo"]
    ratio = photo.shape[0] / photo.shape[1]
    figure = Figure(figsize=(3.6 * (1 + len(maps)), 3.6 * ratio + (0.3 if maps else 0)), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, 1 + len(maps)))
    axes[0].imshow(photo, interpolation="bilinear")
    for kind, (tint, style) in OUTLINES.items():
        if kind in kept and kept[kind].any():
            _outline(axes[0], kept[kind], tint, style)
    for axis, (title, saliency) in zip(axes[1:], maps.items(), strict=True):
        seen = kept["input"].astype(float)
        height, width = saliency.T.shape
        extent = (-0.5, width - 0.5, height - 0.5, -0.5)
        axis.imshow(_photo(seen if len(seen) == 3 else seen[:1]), interpolation="bilinear", extent=extent)
        _glow(axis, saliency.T, extent)
        axis.set_title(title, fontsize=9)
    for axis in axes:
        axis.set_axis_off()
    return figure


def draw_volume(kept: Mapping[str, np.ndarray], maps: Mapping[str, np.ndarray]) -> Figure:
    """Axial, coronal and sagittal slices: a row for each saliency map, through its highest point; else of the middle.

    Args:
        kept: as :py:func:`load_display` gives it; without ``affine`` index axes are taken to be R, A, S and no edge
            is named.
        maps: title to saliency ``[i, j, k]`` on the grid of the network's input, 0 to 1.
    """
    affine = kept.get("affine", np.eye(4))
    volume = to_display(kept["input"][:1].astype(np.float32), affine)
    spacing = display_spacing(affine)
    size = spacing * volume.shape[1:]
    widths = [size[columns] for _, _, columns in PLANES.values()]
    height = max(size[rows] for _, rows, _ in PLANES.values())
    rows_of_maps: dict[str, np.ndarray | None] = dict(maps) or {"": None}
    scale = 8.4 / sum(widths)
    figure = Figure(figsize=(8.6, len(rows_of_maps) * (scale * height + 0.3)), layout="constrained")
    axes = figure.subplots(len(rows_of_maps), len(PLANES), width_ratios=widths, squeeze=False)
    low, high = float(volume.min()), float(volume.max())
    for line, (title, saliency) in zip(axes, rows_of_maps.items(), strict=True):
        shown = None if saliency is None else to_display(saliency[None], affine)
        center = [n // 2 for n in volume.shape[1:]]
        if shown is not None and shown.any():
            center = [int(i) for i in np.unravel_index(shown[0].argmax(), shown.shape[1:])]
        for axis, (plane, (cut, rows, columns)) in zip(line, PLANES.items(), strict=True):
            extent = (0.0, float(size[columns]), float(size[rows]), 0.0)
            picture = slice_plane(volume, plane, center[cut])[0]
            axis.imshow(picture, cmap="gray", vmin=low, vmax=high, extent=extent, interpolation="bilinear")
            if shown is not None:
                _glow(axis, slice_plane(shown, plane, center[cut])[0], extent)
            axis.set(xticks=[], yticks=[])
            if "affine" in kept:
                edge_letters(axis, plane)
        if title:
            line[0].set_title(title, fontsize=9, loc="left")
    return figure


def _array(value: Any) -> np.ndarray:
    return torch.as_tensor(value).detach().as_subclass(torch.Tensor).cpu().numpy()


def _photo(image: np.ndarray) -> np.ndarray:
    """``[3 or 1, W, H]`` as ``[H, W, 3]`` uint8 of at most 256 pixels a side; what is not 0 to 255 is stretched."""
    picture = image.transpose(2, 1, 0)
    if picture.dtype != np.uint8:
        low, high = float(picture.min()), float(picture.max())
        if low < 0 or high <= 1 or high > 255:
            picture = 255 * (picture - low) / ((high - low) or 1.0)
        picture = picture.round().astype(np.uint8)
    if picture.shape[2] == 1:
        picture = picture.repeat(3, axis=2)
    scale = min(1.0, SIDE / max(picture.shape[:2]))
    return _shrunk(picture, max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))


def _shrunk(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.asarray(Image.fromarray(picture.astype(np.uint8)).resize((width, height), Image.Resampling.BOX))


def _outline(axis: Axes, mask: np.ndarray, tint: str, style: Any) -> None:
    rows, columns = mask.shape
    # A rim of zeros closes an outline that reaches the edge of the picture.
    drawn = axis.contour(
        np.arange(-1, columns + 1),
        np.arange(-1, rows + 1),
        np.pad(mask, 1),
        levels=[0.5],
        colors=[tint],
        linewidths=1.6,
    )
    drawn.set_linestyle(style)
    drawn.set_path_effects([withStroke(linewidth=2.8, foreground="black")])
    axis.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))


def _glow(axis: Axes, saliency: np.ndarray, extent: tuple[float, float, float, float]) -> None:
    axis.imshow(saliency, cmap=SALIENCY_COLOURS, vmin=0, vmax=1, alpha=0.6 * saliency, extent=extent)
