# SPDX-License-Identifier: Apache-2.0
"""The patient's body in a CT: what the network sees, and where dose can be."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from scipy import ndimage

from ctan_networks.errors import DataError

__all__ = ["BodyMaskd", "body_mask"]

AIR_HU = -1024.0
CLOSING_MM = 12.0


def body_mask(
    ct: np.ndarray, spacing: tuple[float, float, float], threshold: float = -400.0, opening_mm: float = 8.0
) -> np.ndarray:
    """Find the body in a CT.

    Voxels above the threshold, opened in each slice so that a couch top or a mask's rim (a few millimetres thin) does
    not hang on; of these the components that hold at least a tenth of the largest one's volume (arms, or a neck that
    an artefact cut off, are part of the body); what the opening took off within its own width comes back; nostrils,
    mouth and airways are closed and filled slice by slice.

    Args:
        ct: HU, ``[P, L, I]``: the last axis is the long axis of the body.
        spacing: voxel size in mm along the three axes.
        threshold: HU above which a voxel may belong to the body.
        opening_mm: thickness in mm up to which things in a slice are taken off.

    Returns:
        Boolean mask shaped as ``ct``; empty when nothing lies above the threshold.

    """
    candidate = ct > threshold
    body = np.zeros_like(candidate)
    if not candidate.any():
        return body
    reach = [size // 2 for size in _ellipse(CLOSING_MM, spacing).shape[:2]] + [0]
    box = _box(candidate, [1, 1, 0])
    found = _largest_parts(candidate[box], spacing, opening_mm)
    # A ring of air around the body, as far as the image has one, leaves what is filled as it would be in all of it.
    inner = _box(found, [r + 1 if r else 0 for r in reach])
    padded = np.pad(found[inner], [(r, r) for r in reach])
    closed = ndimage.binary_closing(padded, _ellipse(CLOSING_MM, spacing))
    closed = closed[tuple(slice(r, r + n) for r, n in zip(reach, found[inner].shape, strict=True))]
    for i in range(closed.shape[2]):
        closed[:, :, i] = ndimage.binary_fill_holes(closed[:, :, i])
    body[box][inner] = closed
    return body


def _largest_parts(candidate: np.ndarray, spacing: tuple[float, float, float], opening_mm: float) -> np.ndarray:
    opened = ndimage.binary_opening(candidate, _ellipse(opening_mm / 2, spacing))
    # A body that the opening erases altogether (a very small field of view) is better than none.
    labels, _ = ndimage.label(opened if opened.any() else candidate)
    volumes = np.bincount(labels.ravel())
    volumes[0] = 0
    body = (volumes >= 0.1 * volumes.max())[labels]
    return candidate & ndimage.binary_dilation(body, _ellipse(opening_mm, spacing))


def _box(mask: np.ndarray, margin: Sequence[int]) -> tuple[slice, ...]:
    """The box around a mask that is not empty, with a margin as far as there is room."""
    sides = []
    for axis, extra in enumerate(margin):
        hits = np.flatnonzero(mask.any(axis=tuple(k for k in range(mask.ndim) if k != axis)))
        sides.append(slice(max(0, hits[0] - extra), hits[-1] + 1 + extra))
    return tuple(sides)


def _ellipse(radius_mm: float, spacing: tuple[float, float, float]) -> np.ndarray:
    """A disc of at least one voxel's reach in the plane of a slice."""
    rows, columns = (max(1, round(radius_mm / s)) for s in spacing[:2])
    y, x = np.ogrid[-rows : rows + 1, -columns : columns + 1]
    return ((y / rows) ** 2 + (x / columns) ** 2 <= 1)[:, :, None]


class BodyMaskd(MapTransform):
    """Find the body, store it, and set the CT outside of it to air, so that couch and mask frame are gone.

    Args:
        keys: CT in HU, ``[1, P, L, I]``.
        mask_key: where the body mask goes, ``[1, P, L, I]``, uint8.
        threshold: see :py:func:`body_mask`.
        opening_mm: see :py:func:`body_mask`.
        only_missing: do nothing for a case that has a mask already.

    Raises:
        DataError: when no body is found: the image is no CT, or is not in HU.

    """

    def __init__(
        self,
        keys: KeysCollection,
        mask_key: str = "body",
        threshold: float = -400.0,
        opening_mm: float = 8.0,
        only_missing: bool = False,
    ) -> None:
        super().__init__(keys)
        self.only_missing = only_missing
        self.mask_key = mask_key
        self.threshold = threshold
        self.opening_mm = opening_mm

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        d = dict(data)
        if self.only_missing and self.mask_key in d:
            return d
        for key in self.key_iterator(d):
            image = d[key]
            rows, columns, slices = image.pixdim.tolist() if isinstance(image, MetaTensor) else (1.0, 1.0, 1.0)
            mask = body_mask(np.asarray(image[0]), (rows, columns, slices), self.threshold, self.opening_mm)
            if not mask.any():
                low, high = float(image.min()), float(image.max())
                raise DataError(
                    f"case {d.get('case', '?')}: no body found: values lie between {low:g} and {high:g}, where a CT in"
                    f" HU has tissue above {self.threshold:g}. Give a CT in Hounsfield units."
                )
            inside = torch.from_numpy(mask)[None]
            body = inside.to(torch.uint8)
            d[self.mask_key] = MetaTensor(body, meta=dict(image.meta)) if isinstance(image, MetaTensor) else body
            d[key] = torch.where(inside, image, torch.full_like(image, AIR_HU))
        return d
