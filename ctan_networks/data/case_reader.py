# SPDX-License-Identifier: Apache-2.0
"""One reader for every way in which a case comes: OpenKBP CSV, NIfTI, a folder of DICOM CT slices, ITK's formats."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from monai.config import PathLike
from monai.data import ImageReader, ITKReader, NibabelReader, PydicomReader
from monai.utils import OptionalImportError
from pydicom.errors import InvalidDicomError
from pydicom.pixels import get_decoder
from pydicom.uid import UID, CTImageStorage, EnhancedCTImageStorage

from ctan_networks.data.metaimage import check_metaimage
from ctan_networks.data.openkbp import STRUCTURES
from ctan_networks.data.openkbp_reader import OpenKBPReader
from ctan_networks.errors import CTANError, DataError

__all__ = ["CaseReader", "ct_slices"]

# Slices of one series may differ by the rounding of their positions, not by a part of a slice.
GAP_TOLERANCE_MM = 0.1
CT_IMAGES = (CTImageStorage, EnhancedCTImageStorage)


def ct_slices(folder: str | os.PathLike, damaged: list[Path] | None = None) -> Iterator[tuple[Path, pydicom.Dataset]]:
    """Headers of the DICOM CT images in a folder, by content, whatever the files are called.

    Other DICOM objects (structures, plans, doses), other files and sub-folders are passed over.

    Args:
        folder: the folder.
        damaged: list to which files are added that may be CT images, but are cut short or damaged in the header.

    Yields:
        Path and data set without pixels, in the order of the file names.

    """
    for file in sorted(Path(folder).iterdir()):
        if not file.is_file():
            continue
        try:
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["Modality", "SeriesInstanceUID"])
            modality, series = header.get("Modality"), header.get("SeriesInstanceUID")
            kind = UID(str(header.file_meta.get("MediaStorageSOPClassUID", "")))
        except InvalidDicomError:
            continue
        except Exception:  # noqa: BLE001  pydicom raises whatever the place of the cut leads to
            modality, series, kind = None, None, UID("")
        if modality == "CT" and series:
            yield file, header
        # A file without modality may be a cut CT image, but not where it says that it is a DICOMDIR or the like.
        elif damaged is not None and not (modality and series) and (kind in CT_IMAGES or kind.type != "SOP Class"):
            damaged.append(file)


class CaseReader(ImageReader):
    """Read a volume, whatever it is stored as, for ``LoadImaged(reader=...)``.

    ===================================  ==========================================================================
    path                                 read by
    ===================================  ==========================================================================
    ``.csv``, OpenKBP patient folder     :py:class:`ctan_networks.data.OpenKBPReader`
    ``.nii``, ``.nii.gz``                :py:class:`monai.data.NibabelReader`
    folder with DICOM CT slices          :py:class:`monai.data.PydicomReader`, with the slices ordered by position;
                                         compressed ones with pydicom's plugins (extra ``dicom``)
    any other file, such as ``.mha``     :py:class:`monai.data.ITKReader`, if itk is installed (extra ``itk``)
    ===================================  ==========================================================================

    Reading is left to ``get_data``, so that its errors reach the user through ``LoadImage``; see
    :py:class:`ctan_networks.data.OpenKBPReader`. The reader keeps no state between calls.

    Args:
        structures: names of the structures in the order of the bits of an OpenKBP patient folder.

    """

    def __init__(self, structures: Sequence[str] = STRUCTURES) -> None:
        super().__init__()
        self.openkbp = OpenKBPReader(structures)

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """True: whether a path can be read turns out by its content."""
        return True

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> Path:
        """Return the path, to be read by :py:meth:`get_data`."""
        return self.openkbp.read(data)

    def get_data(self, img: Path) -> tuple[np.ndarray, dict[str, Any]]:
        """Read the array and its metadata.

        Raises:
            DataError: when the path cannot be read; names it, the reason and what to do.

        """
        path = Path(img)
        if not path.exists():
            raise DataError(f"{path} is not there. Check the path.")
        try:
            if self.openkbp.verify_suffix(path):
                return self.openkbp.get_data(path)
            if path.is_dir():
                return _read_series(path)
            if path.name.lower().endswith((".nii", ".nii.gz")):
                return _read_with(NibabelReader(squeeze_non_spatial_dims=True), path)
            reader = _itk_reader(path)
            if path.suffix.lower() in (".mha", ".mhd"):
                # Where compressed data is cut short or damaged, ITK gives what was in memory.
                check_metaimage(path, decompress=True)
            return _read_with(reader, path)
        except CTANError:
            raise
        except Exception as error:
            reason = str(error).strip() or type(error).__name__
            raise DataError(f"{path} cannot be read ({reason}). Check that the file is whole.") from error


def _read_with(reader: ImageReader, path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    array, meta = reader.get_data(reader.read(str(path)))
    if array.ndim != 3:
        raise DataError(
            f"{path} has {array.ndim} dimensions {tuple(array.shape)}: give one volume of three dimensions."
        )
    return array, meta


def _itk_reader(path: Path) -> ImageReader:
    try:
        return ITKReader()
    except OptionalImportError:
        raise DataError(
            f"{path}: to read {''.join(path.suffixes[-2:]) or 'this kind of file'}, install ITK (pip install"
            ' "ctan-networks[itk]"), or give NIfTI, a folder of DICOM CT slices or OpenKBP CSV.'
        ) from None


def _read_series(folder: Path) -> tuple[np.ndarray, dict[str, Any]]:
    files = _files_of_one_series(folder)
    slices = [pydicom.dcmread(file) for file in files]
    _require_pixels(files, slices)
    order = _order_by_position(folder, slices)
    reader = PydicomReader()
    # PydicomReader sorts by InstanceNumber, which need not follow the position.
    for number, k in enumerate(order, start=1):
        slices[k].InstanceNumber = number
    reader.has_series = True
    reader.filenames = [[str(files[k]) for k in order]]  # type: ignore[list-item]
    array, meta = reader.get_data([slices[k] for k in order])
    return array, meta | {"filename_or_obj": str(folder)}


def _require_pixels(files: Sequence[Path], slices: Sequence[pydicom.Dataset]) -> None:
    """Refuse a slice that is cut short, and a compression for which the decoder is missing."""
    _refuse_damaged([file for file, data in zip(files, slices, strict=True) if "PixelData" not in data])
    for syntax in {UID(data.file_meta.TransferSyntaxUID): None for data in slices}:
        if not syntax.is_compressed:
            continue
        try:
            available = get_decoder(syntax).is_available
        except NotImplementedError:
            raise DataError(
                f"{files[0].parent}: the compression {syntax.name!r} cannot be read. Export the series uncompressed."
            ) from None
        if not available:
            raise DataError(
                f"{files[0].parent}: the slices are compressed ({syntax.name}), and no decoder for that is installed."
                ' Install one (pip install "ctan-networks[dicom]"), or export the series uncompressed.'
            )


def _refuse_damaged(files: Sequence[Path]) -> None:
    if files:
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        raise DataError(
            f"{files[0]}{more}: cut short or damaged. Get the files again; what is no CT slice, take out of the folder."
        )


def _files_of_one_series(folder: Path) -> list[Path]:
    series: dict[str, list[Path]] = {}
    damaged: list[Path] = []
    for file, header in ct_slices(folder, damaged):
        series.setdefault(str(header.SeriesInstanceUID), []).append(file)
    suffixes = {file.suffix for files in series.values() for file in files}
    damaged += [f for f in sorted(folder.iterdir()) if f.suffix in suffixes and f.is_file() and not f.stat().st_size]
    _refuse_damaged(damaged)
    if not series:
        raise DataError(
            f"{folder} holds neither an OpenKBP patient (ct.csv) nor DICOM CT slices. Give a folder that holds"
            " either, or a NIfTI file."
        )
    if len(series) > 1:
        counts = ", ".join(f"{uid} ({len(files)} slices)" for uid, files in series.items())
        raise DataError(f"{folder} holds {len(series)} CT series: {counts}. Give each series its own folder.")
    files = next(iter(series.values()))
    if len(files) < 2:
        raise DataError(f"{folder} holds a single CT slice: a volume needs a series of them.")
    return files


def _order_by_position(folder: Path, slices: Sequence[pydicom.Dataset]) -> list[int]:
    """Order slices along their normal; refuse gaps, doubles and slices that do not lie one above the other."""
    row, column = np.split(np.asarray(slices[0].ImageOrientationPatient, dtype=float), 2)
    normal = np.cross(row, column)
    points = np.array([s.ImagePositionPatient for s in slices], dtype=float)
    order = np.argsort(points @ normal)
    steps = np.diff(points[order], axis=0)
    heights = steps @ normal
    usual = float(np.median(heights))
    turned = any(
        not np.allclose(s.ImageOrientationPatient, slices[0].ImageOrientationPatient, atol=1e-3) for s in slices
    )
    if turned or np.abs(steps - heights[:, None] * normal).max() > GAP_TOLERANCE_MM:
        raise DataError(
            f"{folder}: the slices are not parallel and in line. Give one axial series without gantry tilt."
        )
    if usual < GAP_TOLERANCE_MM or np.abs(heights - usual).max() > GAP_TOLERANCE_MM:
        raise DataError(
            f"{folder}: the {len(slices)} CT slices lie {heights.min():.2f} to {heights.max():.2f} mm apart: some are"
            " missing or double. Export the whole series again, or resample it to even slices."
        )
    return [int(k) for k in order]
