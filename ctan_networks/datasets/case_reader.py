# SPDX-License-Identifier: Apache-2.0
"""One reader for every way in which a case comes: OpenKBP CSV, NIfTI, a folder of DICOM CT slices, ITK's formats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data import ImageReader, ITKReader
from monai.utils import MetaKeys, OptionalImportError, SpaceKeys

from ctan_networks.data.itk_header import check_itk
from ctan_networks.data.nifti import read_nifti
from ctan_networks.datasets.openkbp.files import STRUCTURES
from ctan_networks.datasets.openkbp.reader import MASK, OpenKBPReader
from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.patient_folder import read_ct, scan_folder
from ctan_networks.radiotherapy.image_mark import SERIES, mark, series_content
from ctan_networks.radiotherapy.nifti_patient import is_nifti_patient, read_structure_bits
from ctan_networks.radiotherapy.patients import warn_of_position
from ctan_networks.radiotherapy.pseudonyms import case_of_folder
from ctan_networks.reading import check_finite, check_geometry, geometry_alone, library_errors, require_file

__all__ = ["CaseReader"]

# Behind a preamble of 128 bytes (DICOM PS3.10 7.1).
DICOM_START = b"DICM"


class CaseReader(ImageReader):
    """Read a volume, whatever it is stored as, for ``LoadImaged(reader=...)``.

    ===================================  ==========================================================================
    path                                 read by
    ===================================  ==========================================================================
    ``.csv``, OpenKBP patient folder     :py:class:`ctan_networks.datasets.openkbp.OpenKBPReader`
    ``.nii``, ``.nii.gz``                :py:class:`monai.data.NibabelReader`
    patient's folder in DICOM            pydicom, with the slices ordered by position; compressed ones with its
                                         plugins (extra ``dicom``). Scouts, reports, structures, plans, doses and
                                         sub-folders may be there too
    enhanced (multi-frame) CT image      pydicom, too
    folder with ``ct.nii.gz``            :py:func:`ctan_networks.radiotherapy.nifti_patient.read_structure_bits`;
                                         ``possible_dose_mask.nii.gz`` in it likewise
    any other file, such as ``.mha``     :py:class:`monai.data.ITKReader`, if itk is installed (extra ``itk``)
    ===================================  ==========================================================================

    Reading is left to ``get_data``, so that its errors reach the user through ``LoadImage``; see
    :py:class:`ctan_networks.datasets.openkbp.OpenKBPReader`. The reader keeps no state between calls.

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
        if path.name == f"{MASK}.nii.gz" and is_nifti_patient(path.parent):
            return _read_region(path)
        if path.name.lower().endswith((".nii", ".nii.gz")):
            return read_nifti(path)
        if _is_dicom(path):
            return _read_series(path)
        return _read_with(_itk_reader(path), path)


def _read_region(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """The mask of where dose is possible, as every mask of a patient is read."""
    inside, meta = read_structure_bits(path.parent, [MASK])
    if not inside.any():
        raise DataError(f"{path} is empty: no dose would be possible anywhere. Draw the body, or take the file away.")
    return inside.astype(np.uint8), meta


def _is_dicom(path: Path) -> bool:
    require_file(path)
    with library_errors(path), path.open("rb") as file:
        return file.read(len(DICOM_START) + 128)[128:] == DICOM_START


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


def _read_series(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    objects = scan_folder(path)
    if not objects.ct and not objects.damaged:
        raise DataError(
            f"{path} holds neither an OpenKBP patient (ct.csv) nor DICOM CT slices ({objects.summary()}). Give a folder"
            " that holds either, or a NIfTI file."
        )
    series = read_ct(objects)
    warn_of_position(series, case_of_folder(path if path.is_dir() else path.parent))
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ series.affine
    meta = {
        MetaKeys.AFFINE: affine,
        MetaKeys.ORIGINAL_AFFINE: affine.copy(),
        MetaKeys.SPATIAL_SHAPE: np.array(series.shape),
        MetaKeys.SPACE: SpaceKeys.RAS,
        MetaKeys.ORIGINAL_CHANNEL_DIM: "no_channel",
        "filename_or_obj": str(path),
        SERIES: mark(series_content(series.uid)),
    }
    return series.volume(), {str(key): value for key, value in meta.items()}
