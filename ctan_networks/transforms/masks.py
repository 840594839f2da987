# SPDX-License-Identifier: Apache-2.0
"""Masks as files hold them: which values are inside, and which way up they are."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from ctan_networks.data.photo_reader import ORIENTATION, STORED_SIZE
from ctan_networks.errors import DataError

__all__ = ["TurnMasksd", "inside_mask", "turn_of_mask"]

# EXIF 2.32, tag 0x0112: whether rows and columns change places, and which of (rows, columns) are then reversed.
TURNS: dict[int, tuple[bool, tuple[int, ...]]] = {
    1: (False, ()), 2: (False, (1,)), 3: (False, (0, 1)), 4: (False, (0,)),
    5: (True, ()), 6: (True, (1,)), 7: (True, (0, 1)), 8: (True, (0,)),
}  # fmt: skip
# Whole numbers up to this are labels; a picture's greys go further.
MOST_LABELS = 20
# Between these shares of the highest value lie the edges of a mask that was compressed or resampled.
EDGE = (0.1, 0.9)
# A mask has edges in some of its pixels, a photograph has greys everywhere.
MOST_EDGES = 1 / 3
# A label has an area of its own, an edge has not.
LEAST_AREA = 0.01
# Of the highest value: how far interpolating splines go beyond a mask's values.
OVERSHOOT = 0.3
SHOWN = 5


def inside_mask(values: torch.Tensor, where: str) -> torch.Tensor:
    """Which pixels or voxels are inside the one structure of a mask.

    What is not 0 is inside: 1, 127, 255 or any other value. Where there are values between 0 and the highest, as at the
    edges of masks that were compressed or resampled, those from the middle on are inside; of values up to 1, from 0.5.
    Splines may go beyond both ends a little.

    Args:
        values: ``[*spatial]``; NaN is outside.
        where: what the error names.

    Returns:
        bool, of the same shape.

    Raises:
        DataError: when the values are those of several labels, of a photograph, or below 0.

    """
    values = values.float()
    known = values[~values.isnan()]
    if not known.numel():
        return torch.zeros_like(values, dtype=torch.bool)
    low, high = float(known.min()), float(known.max())
    if low < -OVERSHOOT * max(high, 0):
        raise DataError(f"{where} has values below 0 (down to {low:g}). Save the mask as 0 outside and 1 inside.")
    values, known = values.clamp(min=0), known.clamp(min=0)
    if bool(((known == high) | (known == 0)).all()):
        return values == high if high else torch.zeros_like(values, dtype=torch.bool)
    whole = bool((known == known.round()).all())
    shares = values / (high if whole or high > 1 + OVERSHOOT else 1.0)
    between = (shares > EDGE[0]) & (shares < EDGE[1])
    if whole and high <= MOST_LABELS:
        several = True
    else:
        several = int((between & _uniform(values)).sum()) > LEAST_AREA * int((known > 0).sum())
    if several:
        found = torch.unique(known[known > 0]).tolist()
        shown = ", ".join(f"{value:g}" for value in found[:SHOWN]) + (" ..." if len(found) > SHOWN else "")
        raise DataError(
            f"{where} has several labels ({shown}), and the mask of one structure has 0 and one other value. Save the"
            " structure's mask alone, or ask for as many structures."
        )
    if int(between.sum()) > MOST_EDGES * known.numel():
        raise DataError(
            f"{where} has values between 0 and {high:g} nearly everywhere: it looks like a photograph, not like a mask."
        )
    return shares >= 0.5


def _uniform(values: torch.Tensor) -> torch.Tensor:
    """Where all neighbours, diagonal ones too, have the same value."""
    pool = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[values.ndim]
    padded = values.nan_to_num(nan=0.0)[None, None]
    return (pool(padded, 3, 1, 1) == -pool(-padded, 3, 1, 1))[0, 0]


def turn_of_mask(photo: Mapping[str, Any], mask: Mapping[str, Any]) -> int:
    """How a mask must be turned to lie on its photograph, which was held sideways.

    Programs that draw masks show a photograph upright or as it is stored, and most write no orientation themselves.

    Args:
        photo: metadata of the photograph, as :py:func:`ctan_networks.data.photo_reader.picture_meta` gives it.
        mask: metadata of the mask, which need not have an orientation.

    Returns:
        EXIF's number of the turn; 1: none.

    Raises:
        DataError: when it may have been drawn on either.

    """
    held = photo.get(ORIENTATION, 1)
    if held == 1 or mask.get(ORIENTATION, 1) != 1:
        return 1
    stored = tuple(photo[STORED_SIZE])
    upright = stored[::-1] if TURNS[held][0] else stored
    if stored == upright:
        raise DataError(
            f"its photograph is turned when it is shown (EXIF orientation {held}), and its mask fits turned or not."
            " Save the photograph upright, without orientation, and draw or turn the mask on that."
        )
    return held if tuple(mask.get(STORED_SIZE, upright)) == stored else 1


class TurnMasksd(MapTransform):
    """Turn masks that were drawn on a photograph as it is stored, when the photograph itself is shown upright.

    Args:
        keys: masks and maps ``[channels, x, y]``, MetaTensor.
        like: key of the photograph.
        allow_missing_keys: go on when a key is not there.

    Raises:
        DataError: see :py:func:`turn_of_mask`.

    """

    def __init__(self, keys: KeysCollection, like: str = "image", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.like = like

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        photo = getattr(d[self.like], "meta", {})
        for key in self.key_iterator(d):
            mask = d[key]
            meta = getattr(mask, "meta", {})
            turn = turn_of_mask(photo, {STORED_SIZE: tuple(mask.shape[1:]), **meta})
            if turn != 1:
                turned = _turned(torch.as_tensor(mask).as_subclass(torch.Tensor), turn)
                d[key] = MetaTensor(turned, meta=dict(meta)) if isinstance(mask, MetaTensor) else turned
        return d


def _turned(array: torch.Tensor, orientation: int) -> torch.Tensor:
    """``[channels, x, y]`` upright."""
    swapped, reversed_axes = TURNS[orientation]
    rows = array.movedim(2, 1)
    rows = rows.movedim(2, 1) if swapped else rows
    return rows.flip([axis + 1 for axis in reversed_axes]).movedim(2, 1).contiguous()
