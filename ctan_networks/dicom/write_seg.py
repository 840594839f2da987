# SPDX-License-Identifier: Apache-2.0
"""Masks as a DICOM segmentation (SEG), through highdicom."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

import ctan_networks
from ctan_networks.dicom.ct_series import CTSeries
from ctan_networks.dicom.write import MAKER, RESEARCH_ONLY, new_uid
from ctan_networks.errors import ConfigError, DataError
from ctan_networks.utils import atomic_path

__all__ = ["write_seg"]

# SNOMED CT codes of the structures at hand: words in the name, code and meaning.
ANATOMY = (
    (("bladder",), Code("89837001", "SCT", "Urinary bladder")),
    (("rectum",), Code("34402009", "SCT", "Rectum")),
    (("femoralhead", "femhead"), Code("2812003", "SCT", "Head of femur")),
    (("prostate",), Code("41216001", "SCT", "Prostate")),
    (("brainstem",), Code("15926001", "SCT", "Brainstem")),
    (("spinalcord",), Code("2748008", "SCT", "Spinal cord")),
    (("parotid",), Code("45289007", "SCT", "Parotid gland")),
    (("esophagus",), Code("32849002", "SCT", "Esophagus")),
    (("larynx",), Code("4596009", "SCT", "Larynx")),
    (("mandible",), Code("91609006", "SCT", "Mandible")),
)
TISSUE = Code("85756007", "SCT", "Tissue")
TARGET = Code("228793007", "SCT", "Planning target volume")


def write_seg(
    path: str | os.PathLike,
    masks: Mapping[str, np.ndarray],
    reference: CTSeries,
    *,
    description: str = RESEARCH_ONLY,
    uid_root: str | None = None,
) -> Path:
    """Write a binary segmentation (DICOM PS3.3 A.51), one segment a structure.

    Args:
        path: the file.
        masks: structure name to bool ``[i, j, k]`` on the grid of ``reference``; those that are empty are left out.
        reference: the CT series.
        description: SeriesDescription.
        uid_root: UIDs are made from this text; None: random.

    Raises:
        ConfigError: when highdicom is not installed.
        DataError: when no mask holds a voxel, or one is not on the grid.

    """
    try:
        import highdicom as hd
    except ImportError:
        raise ConfigError(
            'writing DICOM SEG needs highdicom (pip install "ctan-networks[dicom]"); RTSTRUCT does not.'
        ) from None
    for name, mask in masks.items():
        if tuple(mask.shape) != tuple(reference.shape):
            raise DataError(f"{path}: the mask of {name!r} is not on the CT's grid. Resample it.")
    drawn = {name: np.asarray(mask) > 0 for name, mask in masks.items() if np.any(mask)}
    if not drawn:
        raise DataError(f"{path}: no structure holds a voxel, and a SEG needs one.")
    algorithm = hd.AlgorithmIdentificationSequence(
        name=MAKER, version=ctan_networks.__version__, family=codes.DCM.ArtificialIntelligence
    )
    segments = [_describe(hd, number, name, algorithm) for number, name in enumerate(drawn, start=1)]
    # highdicom wants [frame, row, column, segment].
    pixels = np.stack([mask.transpose(2, 1, 0) for mask in drawn.values()], axis=-1).astype(np.uint8)
    entropy = (uid_root,) if uid_root is not None else ()
    segmentation = hd.seg.Segmentation(
        source_images=[_whole(header) for header in reference.headers],
        pixel_array=pixels,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        series_instance_uid=new_uid(*(e + "segseries" for e in entropy)),
        series_number=1,
        sop_instance_uid=new_uid(*(e + "seg" for e in entropy)),
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name=MAKER,
        software_versions=ctan_networks.__version__,
        device_serial_number="0",
        series_description=description[:64],
        content_description=description[:64],
        omit_empty_frames=True,
    )
    target = Path(path)
    with atomic_path(target) as temporary:
        segmentation.save_as(temporary)
    return target


def _describe(hd: Any, number: int, name: str, algorithm: Any) -> Any:
    plain = name.lower().replace("_", "").replace(" ", "")
    target = plain.startswith(("ptv", "ctv", "gtv"))
    anatomy = next((code for words, code in ANATOMY if any(word in plain for word in words)), None)
    category = codes.SCT.SpatialAndRelationalConcept if target else codes.SCT.AnatomicalStructure
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=category if anatomy or target else codes.SCT.Tissue,
        segmented_property_type=TARGET if target else anatomy or TISSUE,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=hd.UID(),
        tracking_id=name,
    )


def _whole(header: pydicom.Dataset) -> pydicom.Dataset:
    """Attributes of type 2 that some exports leave out and highdicom asks for."""
    copy = pydicom.Dataset(header)
    copy.file_meta = header.file_meta
    for name in ("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "PatientBirthDate", "PatientSex"):
        if name not in copy:
            setattr(copy, name, "")
    return copy
