# SPDX-License-Identifier: Apache-2.0
"""The lungs in a chest CT."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from scipy import ndimage

from ctan_networks.radiotherapy.transforms.body import BodyMaskd

__all__ = ["LungMaskd", "lung_mask"]

logger = logging.getLogger(__name__)

Spacing = tuple[float, float, float]

# Evens out noise; the wall between lung and outside, or lung and stomach, stays.
SMOOTHING_MM = 1.5
# Cuts lungs from windpipe and main bronchi, and takes off folds of skin.
OPENING_MM = 12.0
# Parts of the lungs hold at least this share of the largest (the windpipe has some 2 %), or lie near it.
SHARE = 0.05
NEAR_MM = 20.0
NEAR_LITRES = 0.01
# Half of a component's inside is darker than this: gas in the bowel, windpipe or under an arm. Lungs have some tissue
# in them, even emphysematous ones. (A real CT: colon -980 to -960, lung -785; its rim, half wall, would blur that.)
GAS_HU = -950.0


def lung_mask(
    ct: np.ndarray, body: np.ndarray, spacing: Spacing, threshold: float = -320.0, closing_mm: float = 15.0
) -> np.ndarray:
    """Find the lungs in a CT.

    Voxels of the body below the threshold after light smoothing, opened so that lungs, windpipe and bowel come apart.
    The largest component that is not plain gas is kept, and with it those that hold a fair share of it (the other
    lung) or lie near it (lung behind a consolidation). What the opening took off within its own width comes back. The
    result is closed and its holes are filled, so that vessels and consolidations inside the lung, and those on its
    surface up to the width ``closing_mm``, belong to it. Wider consolidations that reach the chest wall do not.

    Args:
        ct: HU, three axes in any order.
        body: boolean mask of the body, airways filled, as :py:func:`ctan_networks.radiotherapy.body_mask` makes it.
        spacing: voxel size in mm along the three axes.
        threshold: HU below which a voxel may belong to the lungs.
        closing_mm: width up to which a gap is closed.

    Returns:
        Boolean mask shaped as ``ct``; empty when there is nothing like a lung.

    """
    lungs = np.zeros(ct.shape, dtype=bool)
    extent = ndimage.find_objects(body.astype(np.uint8))
    if not extent:
        return lungs
    box = extent[0]
    smooth = ndimage.gaussian_filter(ct[box].astype(np.float32), [SMOOTHING_MM / s for s in spacing])
    air = (smooth < threshold) & body[box]
    core = _choose(air, smooth, spacing)
    # Only through air: not across the diaphragm into the stomach.
    core = ndimage.binary_dilation(core, iterations=max(1, round(OPENING_MM / 2 / max(spacing))), mask=air)
    element = _ball(closing_mm / 2, spacing)
    padded = np.pad(core, [(n // 2, n // 2) for n in element.shape])
    closed = ndimage.binary_closing(padded, element)
    closed = closed[tuple(slice(n // 2, n // 2 + m) for n, m in zip(element.shape, core.shape, strict=True))]
    lungs[box] = ndimage.binary_fill_holes(closed | core) & body[box]
    return lungs


def _choose(air: np.ndarray, smooth: np.ndarray, spacing: Spacing) -> np.ndarray:
    """The components of the opened air that are lung."""
    element = _ball(OPENING_MM / 2, spacing)
    inside = ndimage.binary_erosion(air, element)
    labels, count = ndimage.label(ndimage.binary_dilation(inside, element))
    numbers = np.arange(count + 1)
    litres = np.bincount(labels.ravel(), minlength=count + 1) * np.prod(spacing) * 1e-6
    litres[0] = 0
    large = numbers[litres >= NEAR_LITRES]
    if large.size:
        medians = np.array(ndimage.median(smooth, np.where(inside, labels, 0), large))
        litres[large[medians < GAS_HU]] = 0
    kept = litres >= max(SHARE * litres.max(), NEAR_LITRES)
    others = (litres >= NEAR_LITRES) & ~kept
    core = kept[labels]
    if others.any() and kept.any():
        distance = ndimage.distance_transform_edt(~core, sampling=spacing)
        gaps = ndimage.minimum(distance, labels, numbers[others])
        kept[numbers[others][np.array(gaps) <= NEAR_MM]] = True
        core = kept[labels]
    return core


def _ball(radius_mm: float, spacing: Spacing) -> np.ndarray:
    """A ball of at least one voxel's reach along each axis."""
    # Half a voxel counts as one, so that a closing reaches as far as it says.
    reach = [max(1, int(radius_mm / s + 0.5)) for s in spacing]
    grid = np.ogrid[tuple(slice(-r, r + 1) for r in reach)]
    return np.asarray(sum((g / r) ** 2 for g, r in zip(grid, reach, strict=True))) <= 1.0001


class LungMaskd(MapTransform):
    """Find the lungs in a chest CT and store them as a mask; the CT stays as it is.

    Meant for a volume that is already resampled to about 3 mm, on which it takes well under a second. Where less than
    ``least_litres`` of lung is found (no chest CT, or lungs that are consolidated altogether) the mask is the whole
    body, and a warning names the case.

    Args:
        keys: CT in HU, ``[1, P, L, I]`` or any orientation whose last axis is the long axis of the body, since the body
            is found slice by slice: ``Orientationd(axcodes="PLI")`` or ``"RAS"`` before this transform.
        mask_key: where the mask goes, ``[1, *spatial]``, uint8.
        threshold: see :py:func:`lung_mask`.
        closing_mm: see :py:func:`lung_mask`.
        least_litres: volume below which the body is taken.
        body_key: mask of the body, where :py:class:`ctan_networks.radiotherapy.BodyMaskd` has made one; None: it is
            found here.

    Raises:
        DataError: when no body is found: the image is no CT, or is not in HU.

    """

    def __init__(
        self,
        keys: KeysCollection,
        mask_key: str = "lungs",
        threshold: float = -320.0,
        closing_mm: float = 15.0,
        least_litres: float = 0.3,
        body_key: str | None = None,
    ) -> None:
        super().__init__(keys)
        self.mask_key = mask_key
        self.threshold = threshold
        self.closing_mm = closing_mm
        self.least_litres = least_litres
        self.body_key = body_key

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        d = dict(data)
        for key in self.key_iterator(d):
            image = d[key]
            a, b, c = image.pixdim.tolist() if isinstance(image, MetaTensor) else (1.0, 1.0, 1.0)
            body = np.asarray(self._body(d, key)[0]) > 0
            lungs = lung_mask(np.asarray(image[0]), body, (a, b, c), self.threshold, self.closing_mm)
            litres = float(lungs.sum()) * a * b * c * 1e-6
            if litres < self.least_litres:
                logger.warning(
                    "case %s: %.2f litres of lung found, less than %g: the mask is the whole body. Is it a chest CT?",
                    d.get("case", "?"),
                    litres,
                    self.least_litres,
                )
                lungs = body
            mask = torch.from_numpy(lungs.astype(np.uint8))[None]
            d[self.mask_key] = MetaTensor(mask, meta=dict(image.meta)) if isinstance(image, MetaTensor) else mask
        return d

    def _body(self, d: Mapping[Hashable, torch.Tensor], key: Hashable) -> torch.Tensor:
        if self.body_key is not None:
            return d[self.body_key]
        return BodyMaskd(key, mask_key="body")(d)["body"]
