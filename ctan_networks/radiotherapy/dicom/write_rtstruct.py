# SPDX-License-Identifier: Apache-2.0
"""Masks as an RTSTRUCT.

Read back voxel by voxel with Matplotlib's and this package's own rasteriser, and accepted by pydicomrt's checker.
rt-utils 1.2.7 and pydicomrt 0.9.1 round contour points to whole voxels and draw a rim of one voxel more. Not tried with
Eclipse or RayStation.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from contourpy import contour_generator
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import CTImageStorage, ImplicitVRLittleEndian, RTStructureSetStorage

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.ct_series import CTSeries
from ctan_networks.radiotherapy.dicom.write import RESEARCH_ONLY, base_dataset, carry_text, decimals, new_uid, save

__all__ = ["mask_contours", "write_rtstruct"]

# Longest value of a decimal string in an explicit transfer syntax, whose length field has 16 bits.
EXPLICIT_BYTES = 65534
STUDY_MANAGEMENT = "1.2.840.10008.3.1.2.3.1"
COLOURS = (
    (230, 25, 75),
    (60, 180, 75),
    (0, 130, 200),
    (245, 130, 48),
    (145, 30, 180),
    (70, 240, 240),
    (240, 50, 230),
    (210, 245, 60),
    (250, 190, 212),
    (0, 128, 128),
    (170, 110, 40),
    (128, 128, 0),
)


def mask_contours(mask: np.ndarray) -> list[np.ndarray]:
    """Closed contours of a plane's mask, half way between the centres of voxels inside and outside.

    Outlines and holes are contours of their own; the even-odd rule gives the mask back, voxel by voxel. Points in the
    middle of a straight run are left out.

    Args:
        mask: bool ``[I, J]``.

    Returns:
        Each ``[N, 2]`` in (i, j), the first point not repeated at the end.

    """
    padded = np.pad(mask.astype(np.float64), 1)
    # contourpy's x is the second axis of its array.
    lines = contour_generator(z=padded.T, name="serial").lines(0.5)
    contours = []
    for line in lines:
        points = np.asarray(line)[:-1] - 1
        before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
        turns = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > 1e-9
        if turns.sum() >= 3:
            contours.append(points[turns])
    return contours


def write_rtstruct(
    path: str | os.PathLike,
    masks: Mapping[str, np.ndarray],
    reference: CTSeries,
    *,
    label: str = "CTAN",
    description: str = RESEARCH_ONLY,
    roi_types: Mapping[str, str] | None = None,
    colours: Mapping[str, Sequence[int]] | None = None,
    uid_root: str | None = None,
    date: str | None = None,
) -> Dataset:
    """Write masks as closed planar contours (DICOM PS3.3 A.19), unapproved.

    Args:
        path: the file.
        masks: ROI name to bool ``[i, j, k]`` on the grid of ``reference``; an empty one gives an ROI without contours.
        reference: the CT series that the contours are drawn on.
        label: StructureSetLabel, at most 16 characters.
        description: SeriesDescription and StructureSetDescription.
        roi_types: ROI name to RTROIInterpretedType; default: "PTV", "CTV" or "GTV" by the name, else "ORGAN".
        colours: ROI name to red, green and blue.
        uid_root: UIDs are made from this text; None: random.
        date: "YYYYMMDDhhmmss" of the writing; None: now.

    Returns:
        What was written.

    Raises:
        DataError: when a mask is not on the grid, or a name cannot be stored.

    """
    uid = new_uid(*((uid_root + "rtstruct",) if uid_root is not None else ()))
    data = base_dataset(RTStructureSetStorage, "RTSTRUCT", reference.headers[0], uid, description, date)
    carry_text(data, masks, path)
    data.StructureSetLabel = label[:16]
    data.StructureSetDescription = description
    data.StructureSetDate, data.StructureSetTime = data.ContentDate, data.ContentTime
    data.ApprovalStatus = "UNAPPROVED"
    data.ReferencedFrameOfReferenceSequence = Items([_frame(reference, data.FrameOfReferenceUID)])
    data.StructureSetROISequence, data.ROIContourSequence = Items(), Items()
    data.RTROIObservationsSequence = Items()
    for number, (name, mask) in enumerate(masks.items(), start=1):
        if tuple(mask.shape) != tuple(reference.shape):
            raise DataError(
                f"{path}: the mask of {name!r} has the size {tuple(mask.shape)}, the CT {tuple(reference.shape)}."
                " Resample it to the CT's grid."
            )
        roi = Dataset()
        roi.ROINumber, roi.ROIName = number, name
        roi.ReferencedFrameOfReferenceUID = data.FrameOfReferenceUID
        roi.ROIGenerationAlgorithm = "AUTOMATIC"
        data.StructureSetROISequence.append(roi)
        drawn = Dataset()
        colour = (colours or {}).get(name, COLOURS[(number - 1) % len(COLOURS)])
        drawn.ROIDisplayColor = [int(c) for c in colour]
        drawn.ReferencedROINumber = number
        drawn.ContourSequence = Items(_contours(np.asarray(mask) > 0, reference))
        data.ROIContourSequence.append(drawn)
        observation = Dataset()
        observation.ObservationNumber, observation.ReferencedROINumber = number, number
        observation.RTROIInterpretedType = (roi_types or {}).get(name, _kind(name))
        observation.ROIInterpreter = ""
        data.RTROIObservationsSequence.append(observation)
        if any(sum(len(str(v)) + 1 for v in c.ContourData) > EXPLICIT_BYTES for c in drawn.ContourSequence):
            # pydicom would store such a contour as bytes of unknown meaning (VR UN), which planning systems refuse.
            data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    save(data, path)
    return data


def _kind(name: str) -> str:
    return name[:3].upper() if name[:3].upper() in ("PTV", "CTV", "GTV") else "ORGAN"


def _frame(reference: CTSeries, frame_uid: str) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = reference.uid
    series.ContourImageSequence = Items([_image(reference, members) for members in _slices_of_files(reference)])
    study = Dataset()
    study.ReferencedSOPClassUID = STUDY_MANAGEMENT
    study.ReferencedSOPInstanceUID = str(reference.headers[0].StudyInstanceUID)
    study.RTReferencedSeriesSequence = Items([series])
    frame = Dataset()
    frame.FrameOfReferenceUID = frame_uid
    frame.RTReferencedStudySequence = Items([study])
    return frame


def _slices_of_files(reference: CTSeries) -> list[list[int]]:
    """The slices that each file holds: one, or the frames of a multi-frame image."""
    slices: dict[Path, list[int]] = {}
    for k, file in enumerate(reference.files):
        slices.setdefault(file, []).append(k)
    return list(slices.values())


def _image(reference: CTSeries, slices: Sequence[int]) -> Dataset:
    """Reference to slices of one file (PS3.3 10.3)."""
    header = reference.headers[slices[0]]
    image = Dataset()
    image.ReferencedSOPClassUID = str(header.get("SOPClassUID", CTImageStorage))
    image.ReferencedSOPInstanceUID = str(header.SOPInstanceUID)
    if reference.frames:
        image.ReferencedFrameNumber = sorted(reference.frames[k] for k in slices)
    return image


def _contours(mask: np.ndarray, reference: CTSeries) -> list[Dataset]:
    items = []
    for k in np.flatnonzero(mask.any(axis=(0, 1))):
        for points in mask_contours(mask[:, :, k]):
            indices = np.column_stack([points, np.full(len(points), float(k))])
            coordinates = indices @ reference.affine[:3, :3].T + reference.affine[:3, 3]
            contour = Dataset()
            contour.ContourImageSequence = Items([_image(reference, [int(k)])])
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(points)
            contour.ContourData = decimals(np.round(coordinates, 4).ravel())
            items.append(contour)
    return items
