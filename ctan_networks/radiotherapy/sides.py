# SPDX-License-Identifier: Apache-2.0
"""Left and right: whether paired structures lie on the side of the patient that their names say."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ctan_networks.errors import DataError

__all__ = ["BODY_HU", "body_middles", "check_bits", "check_sides", "mask_centre", "side_of"]

BODY_HU = -300.0
"""What is denser belongs to the body, or to what it lies on."""

SIDES = {
    **dict.fromkeys(("left", "lt", "l", "links"), "left"),
    **dict.fromkeys(("right", "rt", "r", "rechts"), "right"),
}
# Paired organs lie further apart than this from one another, and from the middle of the body.
APART_MM = 10.0
EXCHANGED = "Left and right may be exchanged in the names or in the image."
ACROSS_MM = 30.0


def side_of(name: str) -> tuple[str, str] | None:
    """The side that a structure's name says, "left" or "right", and the rest of the name; None where it says none.

    ``LeftParotid``, ``FemoralHeadLeft`` and ``Lung_L`` say one; ``Vertebra_L5`` does not.
    """
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]
    said = [k for k, word in enumerate(words) if word in SIDES and not (k + 1 < len(words) and words[k + 1].isdigit())]
    if len(said) != 1:
        return None
    return SIDES[words[said[0]]], " ".join(word for k, word in enumerate(words) if k != said[0])


def check_sides(centres: Mapping[str, np.ndarray], middle: Callable[[str], float | None], alone: bool = False) -> None:
    """Refuse structures that lie on the other side of the patient than their names say.

    A left structure lies to the left of its right partner, and not far to the right of the body's middle.

    Args:
        centres: structure to its centre in DICOM's coordinates (LPS) in mm; what has no side is passed over.
        middle: gives the first coordinate of the body's middle beside a structure; None where it is not known.
        alone: ask for the middle only for structures whose partner is not there.

    Raises:
        DataError: names the structures and what is wrong.

    """
    sided = {name: said for name in centres if (said := side_of(name)) is not None}
    by_side = {said: name for name, said in sided.items()}
    for name, (side, rest) in sided.items():
        x = float(centres[name][0])
        partner = by_side.get(("right" if side == "left" else "left", rest))
        apart = x - float(centres[partner][0]) if partner is not None else 0.0
        if partner is not None and side == "left" and apart < APART_MM:
            where = (
                "they lie in one place. One may be a copy of the other."
                if apart > -APART_MM
                else f"it lies {-apart:.0f} mm to its right. {EXCHANGED}"
            )
            raise DataError(f"{name} does not lie to the patient's left of {partner}: {where}")
        half = middle(name) if partner is None or not alone else None
        across = 0.0 if half is None else (half - x if side == "left" else x - half)
        if across > ACROSS_MM:
            other = "right" if side == "left" else "left"
            raise DataError(f"{name} lies {across:.0f} mm to the patient's {other} of the body's middle. {EXCHANGED}")


def mask_centre(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Centre of a mask that is not empty, in the coordinates to which ``affine`` leads; ``[3]``."""
    counts = [mask.sum(axis=tuple(a for a in range(3) if a != axis)) for axis in range(3)]
    return affine[:3, :3] @ [np.arange(len(c)) @ c / c.sum() for c in counts] + affine[:3, 3]


def body_middles(hu: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Centre of the body in each slice of a CT, in the coordinates to which ``affine`` leads.

    Args:
        hu: ``[i, j, k]`` in HU.
        affine: ``[4, 4]``.

    Returns:
        ``[k, 3]``, NaN where a slice shows no body.

    """
    body = hu > BODY_HU
    along_i, along_j = body.sum(axis=1), body.sum(axis=0)
    with np.errstate(invalid="ignore"):
        points = np.stack(
            [(np.arange(len(along)) @ along) / along.sum(axis=0) for along in (along_i, along_j)]
            + [np.arange(hu.shape[2], dtype=float)]
        )
    return points.T @ affine[:3, :3].T + affine[:3, 3]


def check_bits(
    bits: np.ndarray, structures: Sequence[str], affine: np.ndarray, read_hu: Callable[[], np.ndarray | None]
) -> None:
    """Refuse structures of a bit field that lie on the wrong side; see :py:func:`check_sides`.

    Args:
        bits: bit field; bit k is set where structure k lies.
        structures: names in the order of the bits.
        affine: ``[4, 4]``, from voxels to RAS+ coordinates, as MONAI and NIfTI have them.
        read_hu: reads the CT on the same grid, which is needed where a structure is there without its partner; None
            where there is no CT.

    Raises:
        DataError: names the structures and what is wrong.

    """
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    # Slices last.
    order = np.argsort(np.abs(lps[2, :3]), kind="stable")
    lps[:, :3], bits = lps[:, order], bits.transpose(order)
    masks = {name: (bits >> k) & 1 for k, name in enumerate(structures) if side_of(name) is not None}
    masks = {name: mask for name, mask in masks.items() if mask.any()}
    if not masks:
        return

    def middle(name: str) -> float | None:
        hu = read_hu()
        if hu is None:
            return None
        beside = body_middles(hu.transpose(order), lps)[masks[name].any(axis=(0, 1)), 0]
        return float(np.nanmean(beside)) if np.isfinite(beside).any() else None

    check_sides({name: mask_centre(mask, lps) for name, mask in masks.items()}, middle, alone=True)
