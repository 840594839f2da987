# SPDX-License-Identifier: Apache-2.0
"""A CT volume as a DICOM series: for phantoms, and for results whose input was not DICOM."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.ct_series import CTSeries, make_series
from ctan_networks.radiotherapy.dicom.write import base_dataset, decimal, decimals, new_uid, save

__all__ = ["write_ct_series"]

# Stored values are unsigned, as scanners write them.
INTERCEPT = -1024
# Direction cosines may be off by this much, and the slices still be called axial.
TILT = 0.1


def write_ct_series(
    folder: str | os.PathLike,
    hu: np.ndarray,
    affine_lps: np.ndarray,
    *,
    name: str,
    patient_id: str,
    uid_root: str | None = None,
    series_description: str = "CT",
    reference: Dataset | None = None,
    file_name: str = "CT_{:04d}.dcm",
    date: str | None = None,
) -> CTSeries:
    """Write a CT series of new UIDs, one file a slice (DICOM PS3.3 A.3).

    Args:
        folder: where the files go; made if need be.
        hu: ``[i, j, k]`` (column, row, slice), in HU; rounded, and clipped to -1024 .. 64511.
        affine_lps: ``[4, 4]``, from (i, j, k) to LPS coordinates in mm; its third axis must be along the normal of the
            first two.
        name: PatientName.
        patient_id: PatientID.
        uid_root: UIDs are made from this text, so that the same call gives the same bytes; None: random.
        series_description: SeriesDescription.
        reference: header from which patient and study are taken; ``name`` and ``patient_id`` then count for nothing.
        file_name: format of the files' names, with the number of the slice.
        date: "YYYYMMDDhhmmss" of the writing; None: now.

    Returns:
        The series.

    Raises:
        DataError: when the affine is sheared or left-handed, or a value is not finite.

    """
    affine = np.asarray(affine_lps, dtype=np.float64)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    directions = affine[:3, :3] / spacing
    if np.abs(directions.T @ directions - np.eye(3)).max() > 1e-3 or np.linalg.det(directions) < 0:
        raise DataError(
            "a DICOM series needs rectangular axes, and slices along their normal: resample or turn the volume."
        )
    if not np.isfinite(hu).all():
        raise DataError(f"{folder}: the CT has values that are not finite. Fill them before it is written as DICOM.")
    given, reference = reference, Dataset()
    if given is None:
        reference.PatientName, reference.PatientID = name, patient_id
    else:
        # A copy: UIDs are added below, and Dataset(given) would share its elements.
        reference.update({element.tag: element for element in given})
    entropy = (uid_root,) if uid_root is not None else ()
    if not reference.get("StudyInstanceUID"):
        reference.StudyInstanceUID = new_uid(*(e + "study" for e in entropy))
    if not reference.get("FrameOfReferenceUID"):
        reference.FrameOfReferenceUID = new_uid(*(e + "frame" for e in entropy))
    series = new_uid(*(e + "ct" for e in entropy))
    stored = np.clip(np.rint(hu) - INTERCEPT, 0, 65535).astype(np.uint16)
    files, headers = [], []
    for k in range(stored.shape[2]):
        uid = new_uid(*(f"{e}ct{k}" for e in entropy))
        data = base_dataset(CTImageStorage, "CT", reference, uid, series_description, date)
        position = affine[:3, 3] + affine[:3, 2] * k
        data.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
        data.SeriesInstanceUID = series
        data.InstanceNumber = k + 1
        data.AcquisitionNumber = 1
        data.PatientPosition = _patient_position(directions)
        data.KVP = ""
        data.ImagePositionPatient = decimals(position)
        data.ImageOrientationPatient = decimals([*directions[:, 0], *directions[:, 1]])
        data.SliceLocation = decimal(float(position @ directions[:, 2]))
        data.PixelSpacing = decimals([spacing[1], spacing[0]])
        data.SliceThickness = decimal(spacing[2])
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.Columns, data.Rows = (int(n) for n in stored.shape[:2])
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
        data.RescaleIntercept, data.RescaleSlope, data.RescaleType = str(INTERCEPT), "1", "HU"
        data.PixelData = np.ascontiguousarray(stored[:, :, k].T).tobytes()
        files.append(save(data, Path(folder) / file_name.format(k + 1)))
        del data.PixelData
        headers.append(data)
    return make_series(Path(folder), files, headers)


def _patient_position(directions: np.ndarray) -> str:
    """PatientPosition (PS3.3 C.7.3.1.1.2) of axial slices shown as the scanner makes them; empty for others."""
    for position, (x, y) in {"HFS": (1, 1), "HFP": (-1, -1), "FFS": (-1, 1), "FFP": (1, -1)}.items():
        if np.allclose(directions[:, :2], np.transpose([[x, 0, 0], [0, y, 0]]), atol=TILT):
            return position
    return ""
