# SPDX-License-Identifier: Apache-2.0
"""The structures of an RTSTRUCT: names and closed planar contours."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom

from ctan_networks.errors import DataError

__all__ = ["Structure", "read_structures", "referenced_series"]

logger = logging.getLogger(__name__)

# DICOM PS3.3 C.8.8.6.3. CLOSEDPLANAR_XOR says explicitly what the even-odd rule does with all of them.
CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


@dataclass(frozen=True, eq=False)
class Structure:
    """One ROI of a structure set.

    Attributes:
        number: ROINumber.
        name: ROIName, without spaces at its ends.
        kind: RTROIInterpretedType, such as "PTV", "ORGAN", "EXTERNAL"; empty when not stated.
        contours: each ``[N, 3]`` LPS coordinates in mm, N at least 3.
        frame_of_reference: UID of the frame in which the coordinates are.

    """

    number: int
    name: str
    kind: str
    contours: tuple[np.ndarray, ...]
    frame_of_reference: str


def read_structures(file: Path, dataset: pydicom.Dataset | None = None) -> list[Structure]:
    """Read the ROIs of an RTSTRUCT, those without contours too.

    Contours that enclose no area (POINT, OPEN_PLANAR, OPEN_NONPLANAR, fewer than three points) are passed over, and
    named in the log.

    Args:
        file: the file.
        dataset: what it holds, where it has been read already.

    Raises:
        DataError: when the file is no structure set, or its contour data are damaged.

    """
    data = dataset if dataset is not None else pydicom.dcmread(file)
    if "StructureSetROISequence" not in data:
        raise DataError(f"{file} holds no structure set (StructureSetROISequence). Give an RTSTRUCT.")
    kinds = {
        int(o.ReferencedROINumber): str(o.get("RTROIInterpretedType", "") or "")
        for o in data.get("RTROIObservationsSequence") or []
        if o.get("ReferencedROINumber") is not None
    }
    drawn: dict[int, list[np.ndarray]] = {}
    passed_over: dict[str, int] = {}
    for roi in data.get("ROIContourSequence") or []:
        number = int(roi.ReferencedROINumber)
        for contour in roi.get("ContourSequence") or []:
            kind = str(contour.get("ContourGeometricType", ""))
            points = _points(file, contour)
            if kind in CLOSED and len(points) >= 3:
                drawn.setdefault(number, []).append(points)
            else:
                reason = kind if kind not in CLOSED else "fewer than 3 points"
                passed_over[reason] = passed_over.get(reason, 0) + 1
    if passed_over:
        counts = ", ".join(f"{count} {kind or 'without type'}" for kind, count in passed_over.items())
        logger.info("%s: contours that enclose no area are passed over: %s", file.name, counts)
    return [
        Structure(
            number=int(roi.ROINumber),
            name=str(roi.get("ROIName", "")).strip(),
            kind=kinds.get(int(roi.ROINumber), ""),
            contours=tuple(drawn.get(int(roi.ROINumber), ())),
            frame_of_reference=str(roi.get("ReferencedFrameOfReferenceUID", "")),
        )
        for roi in data.StructureSetROISequence
    ]


def referenced_series(dataset: pydicom.Dataset) -> set[str]:
    """SeriesInstanceUIDs of the images that a structure set was drawn on, as far as it names them."""
    return {
        str(series.SeriesInstanceUID)
        for frame in dataset.get("ReferencedFrameOfReferenceSequence") or []
        for study in frame.get("RTReferencedStudySequence") or []
        for series in study.get("RTReferencedSeriesSequence") or []
        if "SeriesInstanceUID" in series
    }


def by_name(structures: Sequence[Structure]) -> Mapping[str, Structure]:
    """Structures by their names; of two with one name, the first that has contours."""
    named: dict[str, Structure] = {}
    for structure in structures:
        if structure.name not in named or not named[structure.name].contours:
            named[structure.name] = structure
    return named


def _points(file: Path, contour: pydicom.Dataset) -> np.ndarray:
    try:
        values = np.array(contour.get("ContourData") or [], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{file}: contour data that are no numbers ({error}). Export the structures again.") from error
    if values.size % 3 or not np.isfinite(values).all():
        raise DataError(
            f"{file}: a contour has {values.size} coordinates, or some that are not finite, where each point has"
            " three. Export the structures again."
        )
    return values.reshape(-1, 3)
