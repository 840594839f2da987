# SPDX-License-Identifier: Apache-2.0
"""The slices of CT images: a file each, or the frames of an enhanced (multi-frame) image."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
from pydicom.tag import Tag
from pydicom.uid import EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.elements import items, number, numbers, text
from ctan_networks.radiotherapy.dicom.scan import kind_of

__all__ = ["CTSlice", "one_direction", "slices_of"]

ENHANCED = (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
# Functional groups (PS3.3 C.7.6.16.2) and what of them a single-frame CT image has at its top (PS3.3 C.8.2.1).
GROUPS = {
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept", "RescaleType"),
    "CTImageFrameTypeSequence": ("FrameType",),
}
FUNCTIONAL = tuple(Tag(name) for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"))
# Images whose normals are less parallel than this (the cosine of their angle) are no slices of one stack.
SAME_DIRECTION = 0.7


class CTSlice(NamedTuple):
    """One slice.

    Attributes:
        file: that holds it.
        header: as of a single-frame CT image; of a frame with the values of its functional groups.
        frame: its number in a multi-frame image, from 1; None for a single-frame image.

    """

    file: Path
    header: pydicom.Dataset
    frame: int | None = None


def slices_of(file: Path, header: pydicom.Dataset) -> list[CTSlice]:
    """The slices of a CT image (PS3.3 A.3), or of an enhanced or legacy converted enhanced one (A.38, A.70).

    Frames that are localizers are left out.

    Args:
        file: the file.
        header: without pixels.

    Raises:
        DataError: when the functional groups are not those of as many frames as the image has.

    """
    frames = items(file, header, "PerFrameFunctionalGroupsSequence")
    count = int(number(file, header, "NumberOfFrames") or 1)
    if not frames and count == 1:
        return [CTSlice(file, header)]
    if len(frames) != count or text(file, header, "SOPClassUID") not in ENHANCED:
        raise DataError(
            f"{file}: {count} frames and {len(frames)} descriptions of frames: this is no enhanced CT image. Export"
            " the series again."
        )
    shared = items(file, header, "SharedFunctionalGroupsSequence")
    # Iterating over a data set gives elements, and converts and comments on what it has; keys do not.
    common = [tag for tag in list(header.keys()) if tag not in FUNCTIONAL]
    slices = []
    for k, frame in enumerate(frames, start=1):
        flat = pydicom.Dataset()
        for tag in common:
            flat[tag] = header.get_item(tag)
        flat.file_meta = header.file_meta
        for groups in (*shared[:1], frame):
            for sequence, names in GROUPS.items():
                for group in items(file, groups, sequence)[:1]:
                    flat.update({group[name].tag: group[name] for name in names if name in group})
        if "FrameType" in flat:
            flat.ImageType = flat.FrameType
        if kind_of(flat) == "CT":
            slices.append(CTSlice(file, flat, k))
    return slices


def one_direction(slices: list[CTSlice]) -> tuple[list[CTSlice], list[CTSlice], np.ndarray | None]:
    """Tell the slices of the direction that most have from those across it, such as scouts that are not called so.

    Args:
        slices: of one series.

    Returns:
        The slices, with those that state no direction; those across; and the unit vector along which the slices are
        stacked (LPS), None where they are not stacked, but a single image or images of one place.

    """
    stacks: list[tuple[np.ndarray, list[CTSlice]]] = []
    unknown = []
    for s in slices:
        turn = numbers(s.file, s.header, "ImageOrientationPatient", 6)
        normal = np.zeros(3) if turn is None else np.cross(turn[:3], turn[3:])
        length = np.linalg.norm(normal)
        if not length > 0:
            unknown.append(s)
            continue
        normal = normal / length
        stack = next((members for first, members in stacks if abs(first @ normal) > SAME_DIRECTION), None)
        if stack is None:
            stacks.append((normal, [s]))
        else:
            stack.append(s)
    if not stacks:
        return slices, [], None
    direction, members = max(stacks, key=lambda stack: len(stack[1]))
    across = [s for _, others in stacks if others is not members for s in others]
    places = [numbers(s.file, s.header, "ImagePositionPatient", 3) for s in members]
    heights = [place @ direction for place in places if place is not None]
    is_stack = len(heights) > 1 and np.ptp(heights) > 0.1
    return [*members, *unknown], across, direction if is_stack else None
