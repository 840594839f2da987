# SPDX-License-Identifier: Apache-2.0
"""A small patient in DICOM-RT whose contours, references and names a test chooses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from ctan_networks.radiotherapy.dicom.ct_series import CTSeries
from ctan_networks.radiotherapy.dicom.write_ct import write_ct_series
from ctan_networks.radiotherapy.dicom.write_rtdose import write_rtdose
from ctan_networks.radiotherapy.dicom.write_rtplan import write_rtplan
from ctan_networks.radiotherapy.dicom.write_rtstruct import write_rtstruct

__all__ = ["SLICE", "disc", "discs", "edit", "volume_cc", "write_drawn_patient"]

# 60 x 50 pixels of 4 mm, 16 slices of 3 mm; the body's middle is at the origin.
SHAPE, PIXEL, SLICE = (60, 50, 16), 4.0, 3.0

Rois = Sequence[tuple[str, Sequence[np.ndarray]]]


def disc(z: float, x: float = 0.0, y: float = 0.0, radius: float = 20.0, points: int = 60) -> np.ndarray:
    """A round contour; ``[points, 3]`` in mm."""
    t = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([x + radius * np.cos(t), y + radius * np.sin(t), np.full(points, z)], 1)


def discs(slices: Iterable[float], x: float = 0.0, y: float = 0.0, radius: float = 20.0) -> list[np.ndarray]:
    """A disc on each of these slices."""
    return [disc(SLICE * k, x, y, radius) for k in slices]


def volume_cc(slices: int, radius: float = 20.0) -> float:
    """Of as many discs."""
    return np.pi * radius**2 * SLICE * slices / 1000


def write_drawn_patient(folder: Path, rois: Rois, prescription: float | None = None) -> CTSeries:
    """Write a CT with an oval body and an RTSTRUCT (``RS.dcm``); with a prescription also ``RP.dcm`` and ``RD.dcm``."""
    affine = np.diag([PIXEL, PIXEL, SLICE, 1.0])
    affine[:2, 3] = [-PIXEL * (n - 1) / 2 for n in SHAPE[:2]]
    i, j = np.meshgrid(*((np.arange(n) - (n - 1) / 2) * PIXEL for n in SHAPE[:2]), indexing="ij")
    hu = np.where((i / 110) ** 2 + (j / 80) ** 2 < 1, 20.0, -1000.0)[..., None].repeat(SHAPE[2], -1)
    ct = write_ct_series(folder, hu.astype(np.float32), affine, name="Zephyr^Quill", patient_id="D-1")
    structures = write_rtstruct(folder / "RS.dcm", {name: np.zeros(SHAPE, bool) for name, _ in _unique(rois)}, ct)
    edit(folder, lambda data: _draw(data, rois))
    if prescription is not None:
        plan = write_rtplan(folder / "RP.dcm", ct, structures, prescription_gy=prescription)
        write_rtdose(folder / "RD.dcm", np.full(SHAPE, prescription, np.float32), ct, plan)
    return ct


def edit(folder: Path, change: Callable[[Dataset], None], name: str = "RS.dcm") -> None:
    """Change a DICOM file in place."""
    data = pydicom.dcmread(folder / name)
    change(data)
    data.save_as(folder / name)


def _unique(rois: Rois) -> list[tuple[str, Sequence[np.ndarray]]]:
    """ROIs under names that are all different, so that none of them is lost on the way."""
    return [(f"{k} {name}", contours) for k, (name, contours) in enumerate(rois)]


def _draw(data: Dataset, rois: Rois) -> None:
    for roi, entry, (name, contours) in zip(data.StructureSetROISequence, data.ROIContourSequence, rois, strict=True):
        roi.ROIName = name
        entry.ContourSequence = []
        for points in contours:
            item = Dataset()
            item.ContourGeometricType = "CLOSED_PLANAR"
            item.NumberOfContourPoints = len(points)
            item.ContourData = [f"{value:.6g}" for value in np.asarray(points).ravel()]
            entry.ContourSequence.append(item)
