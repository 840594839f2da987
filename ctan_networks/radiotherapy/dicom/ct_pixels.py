# SPDX-License-Identifier: Apache-2.0
"""From the stored values of CT images to Hounsfield units."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.pixels import get_decoder
from pydicom.uid import UID
from scipy import ndimage

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.elements import number, text

__all__ = ["in_hounsfield_units", "refuse_damaged", "require_pixels"]

MAX_SCALE = 1e6
# Of air outside of the patient, and what padding becomes.
AIR_HU = -1024.0
# RescaleType (PS3.3 C.11.1.1.2) of what may be HU. Absent, it is HU (C.8.2.1.1.3); programs write US, unspecified.
HOUNSFIELD = ("", "HU", "HU_MOD", "US")
# A padding value between these, in HU, is also a value of the patient.
TISSUE_HU = (-900.0, 3000.0)


def in_hounsfield_units(file: Path, header: pydicom.Dataset, stored: np.ndarray) -> np.ndarray:
    """Stored values of a slice in HU; what is padding becomes air.

    Args:
        file: what errors name.
        header: with RescaleSlope and RescaleIntercept; and PixelPaddingValue and PixelPaddingRangeLimit, where it has
            padding.
        stored: ``[rows, columns]``.

    Returns:
        float32, shaped as ``stored``.

    Raises:
        DataError: when the header does not say how to come to HU, or says that the values are something else.

    """
    slope, intercept = number(file, header, "RescaleSlope"), number(file, header, "RescaleIntercept")
    if slope is None or intercept is None:
        raise DataError(
            f"{file}: the CT slice has no {'RescaleSlope' if slope is None else 'RescaleIntercept'}: what its stored"
            " values are in HU is not known. Export the series again, from the scanner or its archive."
        )
    if slope == 0 or abs(slope) > MAX_SCALE or abs(intercept) > MAX_SCALE:
        # Pixels are whole numbers: with a scale that is no scanner's, and only then, HU are not finite.
        raise DataError(
            f"{file}: RescaleSlope {slope} and RescaleIntercept {intercept} make no HU. Export the series again."
        )
    kind = text(file, header, "RescaleType").strip().upper()
    if kind not in HOUNSFIELD or "ModalityLUTSequence" in header:
        stated = f"in {kind[:16]!r}" if kind not in HOUNSFIELD else "by a table (Modality LUT)"
        raise DataError(
            f"{file}: the values are stated {stated}, and not in HU: this is no plain CT image, but a map computed of"
            " it. Give the CT series itself."
        )
    hu = (stored * slope + intercept).astype(np.float32)
    padded = _padding(file, header, stored, slope, intercept)
    if padded is not None:
        hu[padded] = AIR_HU
    return hu


def _padding(
    file: Path, header: pydicom.Dataset, stored: np.ndarray, slope: float, intercept: float
) -> np.ndarray | None:
    """Where a slice is padded (PS3.3 C.7.5.1.1.2); None where it says of no value that it is padding."""
    stated = [number(file, header, name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if stated[0] is None:
        return None
    ends = sorted(_as_stored(file, header, value) for value in stated if value is not None)
    padded = (stored >= ends[0]) & (stored <= ends[-1])
    low, high = sorted(end * slope + intercept for end in (ends[0], ends[-1]))
    if high > TISSUE_HU[0] and low < TISSUE_HU[1] and padded.any():
        # Inside of the patient it is tissue: padding lies at the edge of the image.
        labels, _ = ndimage.label(padded)
        edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
        padded = np.isin(labels, edge[edge > 0])
    return padded


def _as_stored(file: Path, header: pydicom.Dataset, value: float) -> int:
    """A padding value as pixels have it: programs write -2000 for 63536 and 63536 for -2000, by the value's VR."""
    bits = int(number(file, header, "BitsAllocated") or 16)
    whole = int(value) % (1 << bits)
    signed = number(file, header, "PixelRepresentation") == 1
    return whole - (1 << bits) if signed and whole >= 1 << (bits - 1) else whole


def require_pixels(files: Iterable[Path], slices: Iterable[Any]) -> None:
    """Refuse a slice that is cut short, and a compression for which no decoder is installed.

    Raises:
        DataError: names the file and what to do.

    """
    pairs = list(zip(files, slices, strict=True))
    refuse_damaged([file for file, data in pairs if "PixelData" not in data])
    for file, data in pairs:
        if not text(file, data.file_meta, "TransferSyntaxUID"):
            raise DataError(f"{file} says no transfer syntax. Export the series again.")
    folder = pairs[0][0].parent
    for syntax in {UID(str(data.file_meta.TransferSyntaxUID)): None for _, data in pairs}:
        if not syntax.is_transfer_syntax:
            raise DataError(f"{pairs[0][0]}: {str(syntax)[:80]!r} is no transfer syntax. Export the series again.")
        if not syntax.is_compressed:
            continue
        try:
            available = get_decoder(syntax).is_available
        except NotImplementedError:
            raise DataError(
                f"{folder}: the compression {syntax.name!r} cannot be read. Export the series uncompressed."
            ) from None
        if not available:
            raise DataError(
                f"{folder}: the slices are compressed ({syntax.name}), and no decoder for that is installed."
                ' Install one (pip install "ctan-networks[dicom]"), or export the series uncompressed.'
            )


def refuse_damaged(files: Sequence[Path]) -> None:
    """Name the files that are cut short, if there are any.

    Raises:
        DataError: when there are.

    """
    if files:
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        raise DataError(
            f"{files[0]}{more}: cut short or damaged. Get the files again; what is no CT slice, take out of the folder."
        )
