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
from monai.data import ImageReader, ITKReader
from monai.utils import MetaKeys, OptionalImportError, SpaceKeys
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, CTImageStorage, EnhancedCTImageStorage

from ctan_networks.data.itk_header import check_itk
from ctan_networks.data.nifti import read_nifti
from ctan_networks.data.nifti_patient import is_nifti_patient, read_structure_bits
from ctan_networks.data.openkbp import STRUCTURES
from ctan_networks.data.openkbp_reader import OpenKBPReader
from ctan_networks.dicom.ct_series import make_series, refuse_damaged
from ctan_networks.dicom.elements import read_header, read_known
from ctan_networks.dicom.patient_folder import read_ct, scan_folder
from ctan_networks.errors import DataError
from ctan_networks.reading import check_finite, check_geometry, geometry_alone, library_errors, list_folder

__all__ = ["CaseReader", "ct_slices"]

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
    for file in sorted(list_folder(folder)):
        if not file.is_file():
            if damaged is not None and os.path.islink(file) and not file.exists():
                damaged.append(file)
            continue
        try:
            header = read_header(file, ["Modality", "SeriesInstanceUID"])
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
    folder with DICOM CT slices          pydicom, with the slices ordered by position; compressed ones with its
                                         plugins (extra ``dicom``). A patient's folder may hold structures, plans,
                                         doses and sub-folders too
    folder with ``ct.nii.gz``            :py:func:`ctan_networks.data.nifti_patient.read_structure_bits`
    any other file, such as ``.mha``     :py:class:`monai.data.ITKReader`, if itk is installed (extra ``itk``)
    ===================================  ==========================================================================

    Reading is left to ``get_data``, so that its errors reach the user through ``LoadImage``; see
    :py:class:`ctan_networks.data.OpenKBPReader`. The reader keeps no state between calls.

    Args:
        structures: names of the structures in the order of the bits of a patient folder (OpenKBP, NIfTI).

    """

    def __init__(self, structures: Sequence[str] = STRUCTURES) -> None:
        super().__init__()
        self.openkbp = OpenKBPReader(structures)
        self.structures = tuple(structures)

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
        if self.openkbp.verify_suffix(path):
            return self.openkbp.get_data(path)
        if path.is_dir():
            return read_structure_bits(path, self.structures) if is_nifti_patient(path) else _read_series(path)
        if path.name.lower().endswith((".nii", ".nii.gz")):
            return read_nifti(path)
        return _read_with(_itk_reader(path), path)


def _read_with(reader: ImageReader, path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    check_itk(path)
    with library_errors(path):
        array, meta = reader.get_data(reader.read(str(path)))
        affine = np.asarray(meta[MetaKeys.AFFINE], dtype=np.float64)
    if array.ndim != 3:
        raise DataError(
            f"{path} has {array.ndim} dimensions {tuple(array.shape)}: give one volume of three dimensions."
        )
    check_geometry(path, affine, array.shape)
    check_finite(path, array)
    return array, geometry_alone(meta)


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
    if files:
        series = make_series(folder, files, [read_known(file) for file in files])
    else:
        objects = scan_folder(folder)
        if not objects.ct and not objects.damaged:
            raise DataError(
                f"{folder} holds neither an OpenKBP patient (ct.csv) nor DICOM CT slices. Give a folder that holds"
                " either, or a NIfTI file."
            )
        series = read_ct(objects)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ series.affine
    meta = {
        MetaKeys.AFFINE: affine,
        MetaKeys.ORIGINAL_AFFINE: affine.copy(),
        MetaKeys.SPATIAL_SHAPE: np.array(series.shape),
        MetaKeys.SPACE: SpaceKeys.RAS,
        MetaKeys.ORIGINAL_CHANNEL_DIM: "no_channel",
        "filename_or_obj": str(folder),
    }
    return series.volume(), {str(key): value for key, value in meta.items()}


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        # It has gone since the folder was listed.
        return 0


def _files_of_one_series(folder: Path) -> list[Path]:
    """The CT slices in the folder itself; none when they lie below it, or belong to several series."""
    series: dict[str, list[Path]] = {}
    damaged: list[Path] = []
    for file, header in ct_slices(folder, damaged):
        series.setdefault(str(header.SeriesInstanceUID), []).append(file)
    suffixes = {file.suffix for files in series.values() for file in files}
    damaged += [f for f in sorted(list_folder(folder)) if f.suffix in suffixes and f.is_file() and not _size(f)]
    refuse_damaged(damaged)
    return next(iter(series.values())) if len(series) == 1 else []
