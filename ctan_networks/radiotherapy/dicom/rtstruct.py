# SPDX-License-Identifier: Apache-2.0
"""The structures of an RTSTRUCT: names and closed planar contours."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.elements import items, number, numbers, read_dicom, text

__all__ = ["Structure", "are_same_contours", "read_structures", "referenced_images", "referenced_series"]

logger = logging.getLogger(__name__)

# DICOM PS3.3 C.8.8.6.3. CLOSEDPLANAR_XOR says explicitly what the even-odd rule does with all of them.
CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
# Origins of CT scanners lie some metres away, at most.
MAX_COORDINATE_MM = 100_000.0


@dataclass(frozen=True, eq=False)
class Structure:
    """One ROI of a structure set.

    Attributes:
        number: ROINumber.
        name: ROIName, without spaces at its ends.
        kind: RTROIInterpretedType, such as "PTV", "ORGAN", "EXTERNAL"; empty when not stated.
        contours: each ``[N, 3]`` LPS coordinates in mm, N at least 3.
        frame_of_reference: UID of the frame in which the coordinates are.
        images: SOPInstanceUIDs of the images that its contours name.

    """

    number: int
    name: str
    kind: str
    contours: tuple[np.ndarray, ...]
    frame_of_reference: str
    images: frozenset[str] = frozenset()


def read_structures(file: Path, dataset: pydicom.Dataset | None = None, quiet: bool = False) -> list[Structure]:
    """Read the ROIs of an RTSTRUCT, those without contours too.

    Contours that enclose no area (POINT, OPEN_PLANAR, OPEN_NONPLANAR, fewer than three points), and contours of a
    number that no ROI has, are passed over, and counted in the log.

    Args:
        file: the file.
        dataset: what it holds, where it has been read already.
        quiet: log nothing, where another call does.

    Raises:
        DataError: when the file is no structure set, its contour data are damaged, two ROIs have one number, or one ROI
            has two different lists of contours.

    """
    data = dataset if dataset is not None else read_dicom(file)
    if "StructureSetROISequence" not in data:
        raise DataError(f"{file} holds no structure set (StructureSetROISequence). Give an RTSTRUCT.")
    kinds = {
        number(file, o, "ReferencedROINumber"): text(file, o, "RTROIInterpretedType")
        for o in items(file, data, "RTROIObservationsSequence")
    }
    drawn: dict[int, list[np.ndarray]] = {}
    images: dict[int, set[str]] = {}
    passed_over: dict[str, int] = {}
    cut = 0
    for roi in items(file, data, "ROIContourSequence"):
        owner = _roi_number(file, roi, "ReferencedROINumber")
        closed = []
        for contour in items(file, roi, "ContourSequence"):
            kind = text(file, contour, "ContourGeometricType")
            points = _points(file, contour)
            cut += len(points) < (number(file, contour, "NumberOfContourPoints") or 0)
            if kind in CLOSED and len(points) >= 3:
                closed.append(points)
                named = items(file, contour, "ContourImageSequence")
                images.setdefault(owner, set()).update(text(file, i, "ReferencedSOPInstanceUID") for i in named)
            else:
                reason = kind if kind not in CLOSED else "fewer than 3 points"
                passed_over[reason] = passed_over.get(reason, 0) + 1
        known = drawn.setdefault(owner, closed)
        if known and closed and not are_same_contours(known, closed):
            raise DataError(f"{file}: ROI number {owner} has two lists of contours that differ. Export it again.")
        drawn[owner] = known or closed
    if passed_over and not quiet:
        counts = ", ".join(f"{count} {kind or 'without type'}" for kind, count in passed_over.items())
        logger.info("%s: contours that enclose no area are passed over: %s", file.name, counts)
    if cut and not quiet:
        logger.warning(
            "%s: %d contours have fewer points than they state. Export the structures again.", file.name, cut
        )
    structures: dict[int, Structure] = {}
    for roi in items(file, data, "StructureSetROISequence"):
        own = _roi_number(file, roi, "ROINumber")
        if own in structures:
            raise DataError(f"{file}: two ROIs have the number {own}: whose contours are whose? Export them again.")
        structures[own] = Structure(
            number=own,
            name=text(file, roi, "ROIName").strip(),
            kind=kinds.get(own, ""),
            contours=tuple(drawn.get(own, ())),
            frame_of_reference=text(file, roi, "ReferencedFrameOfReferenceUID"),
            images=frozenset(images.get(own, set()) - {""}),
        )
    nobodys = {owner: len(contours) for owner, contours in drawn.items() if contours and owner not in structures}
    if nobodys and not quiet:
        logger.warning(
            "%s: %d contours are left out: they have the ROI numbers %s, which no ROI of the structure set has",
            file.name,
            sum(nobodys.values()),
            ", ".join(str(owner) for owner in sorted(nobodys)),
        )
    return list(structures.values())


def referenced_series(dataset: pydicom.Dataset, file: str | os.PathLike = "the structure set") -> set[str]:
    """SeriesInstanceUIDs of the images that a structure set was drawn on, as far as it names them.

    Args:
        dataset: the structure set.
        file: what errors name.

    Raises:
        DataError: when its references are damaged.

    """
    return {
        text(file, series, "SeriesInstanceUID")
        for frame in items(file, dataset, "ReferencedFrameOfReferenceSequence")
        for study in items(file, frame, "RTReferencedStudySequence")
        for series in items(file, study, "RTReferencedSeriesSequence")
    } - {""}


def referenced_images(dataset: pydicom.Dataset, file: str | os.PathLike = "the structure set") -> dict[str, str]:
    """The images that a structure set lists: SOPInstanceUID to the SeriesInstanceUID under which it stands.

    Args:
        dataset: the structure set.
        file: what errors name.

    Raises:
        DataError: when its references are damaged.

    """
    return {
        text(file, image, "ReferencedSOPInstanceUID"): text(file, series, "SeriesInstanceUID")
        for frame in items(file, dataset, "ReferencedFrameOfReferenceSequence")
        for study in items(file, frame, "RTReferencedStudySequence")
        for series in items(file, study, "RTReferencedSeriesSequence")
        for image in items(file, series, "ContourImageSequence")
    }


def are_same_contours(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> bool:
    """Whether two lists of contours are the same, point by point."""
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def _roi_number(file: Path, item: pydicom.Dataset, name: str) -> int:
    found = number(file, item, name)
    if found is None:
        raise DataError(f"{file}: an ROI without {name}. Export the structures again.")
    return int(found)


def _points(file: Path, contour: pydicom.Dataset) -> np.ndarray:
    values = numbers(file, contour, "ContourData")
    if values is None:
        return np.empty((0, 3))
    if values.size % 3:
        raise DataError(
            f"{file}: a contour has {values.size} coordinates, where each point has three. Export the structures again."
        )
    if np.abs(values).max() > MAX_COORDINATE_MM:
        raise DataError(
            f"{file}: a contour has a point {np.abs(values).max():.4g} mm away from the origin. Export the structures"
            " again."
        )
    return values.reshape(-1, 3)
