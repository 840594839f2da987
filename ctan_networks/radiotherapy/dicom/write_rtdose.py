# SPDX-License-Identifier: Apache-2.0
"""A dose as an RTDOSE.

Read back with pydicom and this package's own reader, and accepted by pydicomrt's checker; not tried with Eclipse or
RayStation.
"""

from __future__ import annotations

import os

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.tag import Tag
from pydicom.uid import RTDoseStorage

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.radiotherapy.dicom.ct_series import CTSeries
from ctan_networks.radiotherapy.dicom.write import RESEARCH_ONLY, TEXT, base_dataset, decimal, decimals, new_uid, save

__all__ = ["write_rtdose"]


def write_rtdose(
    path: str | os.PathLike,
    dose: np.ndarray,
    reference: CTSeries,
    plan: Dataset,
    *,
    affine: np.ndarray | None = None,
    bits: int = 32,
    description: str = RESEARCH_ONLY,
    uid_root: str | None = None,
    summation: str = "PLAN",
    date: str | None = None,
) -> Dataset:
    """Write a dose (DICOM PS3.3 A.18).

    Args:
        path: the file.
        dose: Gy, ``[i, j, k]`` (column, row, frame).
        reference: the CT series, on whose grid the dose is, if no ``affine`` is given.
        plan: the RTPLAN that it belongs to.
        affine: ``[4, 4]`` of a grid of the dose's own, from (i, j, k) to LPS coordinates in mm.
        bits: 16 or 32.
        description: SeriesDescription and DoseComment.
        uid_root: UIDs are made from this text; None: random.
        summation: DoseSummationType. For doses of beams or fractions the standard also wants a reference to the
            beam or fraction group, which is not written: leave it at "PLAN" for what goes to a clinical system.
        date: "YYYYMMDDhhmmss" of the writing; None: now.

    Returns:
        What was written; its pixels times DoseGridScaling differ from the dose by half of DoseGridScaling at most.

    Raises:
        DataError: when the dose is not on the grid, or has a value that is negative or not finite.
        ConfigError: for other bits.

    """
    values = np.asarray(dose, dtype=np.float64)
    if affine is None and tuple(values.shape) != tuple(reference.shape):
        raise DataError(
            f"{path}: the dose has the size {tuple(values.shape)}, the CT {tuple(reference.shape)}. Resample it to the"
            " CT's grid."
        )
    if not np.isfinite(values).all() or values.min(initial=0) < 0:
        raise DataError(f"{path}: the dose has values that are negative or not finite; an RTDOSE cannot hold them.")
    if bits not in (16, 32):
        raise ConfigError(f"an RTDOSE has 16 or 32 bits, not {bits}.")
    geometry = np.asarray(reference.affine if affine is None else affine, dtype=np.float64)
    spacing = np.linalg.norm(geometry[:3, :3], axis=0)
    directions = geometry[:3, :3] / spacing
    uid = new_uid(*((uid_root + "rtdose",) if uid_root is not None else ()))
    data = base_dataset(RTDoseStorage, "RTDOSE", reference.headers[0], uid, description, date)
    data.ImageType = ["DERIVED", "SECONDARY"]
    data.DoseUnits, data.DoseType, data.DoseSummationType = "GY", "PHYSICAL", summation
    data.DoseComment = description[:TEXT]
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = plan.SOPClassUID, plan.SOPInstanceUID
    data.ReferencedRTPlanSequence = Items([item])
    data.ImagePositionPatient = decimals(geometry[:3, 3])
    data.ImageOrientationPatient = decimals([*directions[:, 0], *directions[:, 1]])
    data.PixelSpacing = decimals([spacing[1], spacing[0]])
    data.SliceThickness = decimal(spacing[2])
    data.GridFrameOffsetVector = decimals(spacing[2] * np.arange(values.shape[2]))
    data.FrameIncrementPointer = Tag("GridFrameOffsetVector")
    data.NumberOfFrames = int(values.shape[2])
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Columns, data.Rows = (int(n) for n in values.shape[:2])
    data.BitsAllocated = data.BitsStored = bits
    data.HighBit, data.PixelRepresentation = bits - 1, 0
    data.TissueHeterogeneityCorrection = "IMAGE"
    # The step is what its decimal string says; a hair above, so that the maximum fits.
    data.DoseGridScaling = decimal((float(values.max(initial=0)) or 1.0) / (2**bits - 1) * (1 + 1e-9))
    stored = np.rint(values / float(data.DoseGridScaling)).clip(0, 2**bits - 1)
    data.PixelData = stored.transpose(2, 1, 0).astype(f"<u{bits // 8}").tobytes()
    save(data, path)
    return data
