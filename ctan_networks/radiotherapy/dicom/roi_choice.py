# SPDX-License-Identifier: Apache-2.0
"""Which ROI of a structure set is which structure of a CT, and which ROIs are none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pydicom

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.ct_series import CTSeries
from ctan_networks.radiotherapy.dicom.elements import text
from ctan_networks.radiotherapy.dicom.outlines import contour_area
from ctan_networks.radiotherapy.dicom.roi_names import match_rois
from ctan_networks.radiotherapy.dicom.rtstruct import (
    Structure,
    are_same_contours,
    read_structures,
    referenced_images,
)

__all__ = ["choose_rois"]


def choose_rois(
    file: Path,
    structure_set: pydicom.Dataset,
    ct: CTSeries,
    patterns: Mapping[str, Sequence[str]],
) -> tuple[dict[str, Structure], list[str], list[str]]:
    """Find the ROI of each structure among those that were drawn on a CT.

    An ROI in another frame of reference, or drawn on the images of another series, is none of this CT; one that
    encloses less than a voxel is as good as not drawn.

    Args:
        file: the structure set's.
        structure_set: what it holds.
        ct: the CT.
        patterns: structure to patterns of ROI names; see
            :py:func:`ctan_networks.radiotherapy.dicom.roi_names.match_rois`.

    Returns:
        Structure to its ROI, for those that are there; the names of all ROIs of the CT that enclose something, in the
        order of the structure set; and remarks on ROIs that a pattern matches and that were left out.

    Raises:
        DataError: when several ROIs may be one structure, or the only one is not of this CT.

    """
    everything = read_structures(file, structure_set)
    of_other_images = _of_other_images(everything, structure_set, ct, file)
    drawn: list[Structure] = []
    elsewhere: list[tuple[Structure, str]] = []
    clicked: list[Structure] = []
    for roi in everything:
        if not roi.contours:
            continue
        if roi.frame_of_reference and ct.frame_of_reference and roi.frame_of_reference != ct.frame_of_reference:
            elsewhere.append((roi, "lies in another frame of reference than the CT"))
        elif roi.number in of_other_images:
            elsewhere.append((roi, "was drawn on the images of another series than the CT"))
        elif max(contour_area(c) for c in roi.contours) < ct.spacing[0] * ct.spacing[1]:
            clicked.append(roi)
        else:
            drawn.append(roi)
    names = [roi.name for roi in drawn]
    matched, _ = match_rois(names, patterns)
    found: dict[str, Structure] = {}
    remarks = []
    for structure, expressions in patterns.items():
        if structure in matched:
            found[structure] = _only(structure, [roi for roi in drawn if roi.name == matched[structure]])
        for roi, reason in elsewhere:
            if match_rois([roi.name], {structure: expressions})[0]:
                if structure not in found:
                    raise DataError(
                        f"structure {structure}: its ROI {roi.name!r} {reason}. Export the structures of this CT, or"
                        " rename the ROI."
                    )
                remarks.append(f"ROI {roi.name!r} {reason}, and is left out")
        remarks += [
            f"ROI {roi.name!r} encloses less than a voxel, a stray click: {structure} is not drawn"
            for roi in clicked
            if structure not in found and match_rois([roi.name], {structure: expressions})[0]
        ]
    return found, names, remarks


def _only(structure: str, rois: Sequence[Structure]) -> Structure:
    first, *others = rois
    if not all(are_same_contours(first.contours, other.contours) for other in others):
        listed = " and ".join(
            f"number {roi.number} with {len(roi.contours)} contour{'s' * (len(roi.contours) > 1)}" for roi in rois
        )
        raise DataError(
            f"structure {structure}: {len(rois)} ROIs are called {first.name!r}: {listed}. Rename or delete those that"
            " do not count."
        )
    return first


def _of_other_images(rois: Sequence[Structure], data: pydicom.Dataset, ct: CTSeries, file: Path) -> set[int]:
    """Numbers of the ROIs whose contours name images of another series.

    Where contours name images that are listed nowhere, it counts only if others name those of the CT: structure sets
    whose references were lost, as in anonymised ones, name images that nobody has.
    """
    own = {text(path, header, "SOPInstanceUID") for path, header in zip(ct.files, ct.headers, strict=True)}
    listed = referenced_images(data, file)
    known = any(roi.images & own for roi in rois)
    return {roi.number for roi in rois if any(listed[i] != ct.uid if i in listed else known for i in roi.images - own)}
