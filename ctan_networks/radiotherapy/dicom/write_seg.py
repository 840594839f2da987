# SPDX-License-Identifier: Apache-2.0
"""Masks as a DICOM segmentation (SEG), through highdicom."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.valuerep import DA, TM

import ctan_networks
from ctan_networks.errors import ConfigError, DataError
from ctan_networks.radiotherapy.dicom.ct_series import CTSeries
from ctan_networks.radiotherapy.dicom.elements import read_known
from ctan_networks.radiotherapy.dicom.write import MAKER, RESEARCH_ONLY, TEXT, frame_of_reference, new_uid
from ctan_networks.reading import reason_without_quotes
from ctan_networks.utils import result_path

__all__ = ["require_highdicom", "write_seg"]

# SNOMED CT codes of the structures at hand, as DICOM's context groups have them (PS3.16): names without separators and
# side, code and meaning. Whole names only: a gallbladder is no urinary bladder, and a bladder's wall is none either.
ANATOMY = (
    (("bladder",), Code("89837001", "SCT", "Urinary bladder")),
    (("rectum",), Code("34402009", "SCT", "Rectum")),
    (("femoralhead", "femhead", "femurhead"), Code("2812003", "SCT", "Head of femur")),
    (("prostate",), Code("41216001", "SCT", "Prostate")),
    (("brainstem",), Code("119238007", "SCT", "Brain stem")),
    (("spinalcord", "cord"), Code("2748008", "SCT", "Spinal cord")),
    (("parotid", "parotidgland"), Code("45289007", "SCT", "Parotid gland")),
    (("esophagus", "oesophagus"), Code("32849002", "SCT", "Esophagus")),
    (("larynx",), Code("4596009", "SCT", "Larynx")),
    (("mandible",), Code("91609006", "SCT", "Mandible")),
)
TISSUE = Code("85756007", "SCT", "Tissue")
# Male, female, other, not stated.
SEXES = ("M", "F", "O", "")
TARGETS = {
    "ptv": Code("228793007", "SCT", "PTV"),
    "ctv": Code("228792002", "SCT", "CTV"),
    "gtv": Code("228791009", "SCT", "GTV"),
}
SIDES = {"left": Code("7771000", "SCT", "Left"), "right": Code("24028007", "SCT", "Right")}


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
    hd = require_highdicom()
    for name, mask in masks.items():
        if tuple(mask.shape) != tuple(reference.shape):
            raise DataError(f"{path}: the mask of {name!r} is not on the CT's grid. Resample it.")
    drawn = {name: np.asarray(mask) > 0 for name, mask in masks.items() if np.any(mask)}
    if not drawn:
        raise DataError(f"{path}: no structure holds a voxel, and a SEG needs one.")
    algorithm = hd.AlgorithmIdentificationSequence(
        name=MAKER, version=ctan_networks.__version__, family=codes.DCM.ArtificialIntelligence
    )
    entropy = (uid_root,) if uid_root is not None else ()
    segments = [
        _describe(hd, number, name, algorithm, new_uid(*(f"{e}segment{number}" for e in entropy)))
        for number, name in enumerate(drawn, start=1)
    ]
    # highdicom wants [frame, row, column, segment].
    pixels = np.stack([mask.transpose(2, 1, 0) for mask in drawn.values()], axis=-1).astype(np.uint8)
    sources = [_whole(header) for header in reference.headers]
    if reference.frames:
        sources, pixels = _multi_frame(path, reference, pixels)
    segmentation = _accepted(
        path,
        hd.seg.Segmentation,
        source_images=sources,
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
        series_description=description[:TEXT],
        content_description=description[:TEXT],
        omit_empty_frames=True,
    )
    target = Path(path)
    with result_path(target) as temporary:
        segmentation.save_as(temporary)
    return target


def _multi_frame(
    path: str | os.PathLike, reference: CTSeries, pixels: np.ndarray
) -> tuple[list[pydicom.Dataset], np.ndarray]:
    """An enhanced CT image, and the masks in the order of its frames."""
    if len(set(reference.files)) > 1:
        raise DataError(
            f"{path}: highdicom writes a SEG for one multi-frame image, and the CT has {len(set(reference.files))}."
            " Leave SEG out (seg=False); the RTSTRUCT holds the same structures."
        )
    source = read_known(reference.files[0])
    ordered = np.zeros((int(source.NumberOfFrames), *pixels.shape[1:]), pixels.dtype)
    ordered[np.array(reference.frames) - 1] = pixels
    return [_whole(source)], ordered


def require_highdicom() -> Any:
    """The module highdicom.

    Raises:
        ConfigError: when it is not installed.

    """
    try:
        import highdicom
    except ImportError:
        raise ConfigError(
            'writing DICOM SEG needs highdicom (pip install "ctan-networks[dicom]"); RTSTRUCT does not.'
        ) from None
    # It logs each attribute that it copies, UIDs among them.
    logging.getLogger("highdicom").setLevel(logging.WARNING)
    return highdicom


def anatomy_of(name: str) -> tuple[Code | None, Code | None]:
    """Anatomical structure and side that a name stands for; None where it is not known."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    parts = [part.lower() for part in re.split(r"[\W_]+", words) if part]
    sides = {"l": "left", "lt": "left", "left": "left", "r": "right", "rt": "right", "right": "right"}
    side = [sides[part] for part in parts if part in sides]
    plain = "".join(part for part in parts if part not in sides)
    code = next((code for names, code in ANATOMY if plain in names), None)
    return code, SIDES[side[0]] if len(side) == 1 else None


def _describe(hd: Any, number: int, name: str, algorithm: Any, tracking_uid: str) -> Any:
    target = TARGETS.get(name[:3].lower())
    anatomy, side = anatomy_of(name)
    category = codes.SCT.SpatialAndRelationalConcept if target else codes.SCT.AnatomicalStructure
    described = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=category if anatomy or target else codes.SCT.Tissue,
        segmented_property_type=target or anatomy or TISSUE,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=tracking_uid,
        tracking_id=name,
    )
    if anatomy and side and not target:
        # PS3.3 C.8.20.2: the modifier lies within the item of the type; highdicom has no argument for it.
        modifier = hd.sr.CodedConcept(side.value, side.scheme_designator, side.meaning)
        described.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [modifier]
    return described


def _accepted(path: str | os.PathLike, make: Any, **arguments: Any) -> Any:
    """What highdicom makes; where it does not take the CT's header, an error that quotes nothing of it."""
    try:
        return make(**arguments)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} cannot be written: highdicom does not take the CT's header ({reason_without_quotes(error)[:200]})."
            " Export the CT again, or leave SEG out (seg=False)."
        ) from None


def _whole(header: pydicom.Dataset) -> pydicom.Dataset:
    """A copy with what some exports leave out and highdicom asks for, without dates, times and sexes that are none."""
    copy = pydicom.Dataset()  # Dataset(header) would share its elements with the header
    # Iterating over a data set itself gives elements, and converts private ones.
    for tag in list(header.keys()):
        copy[tag] = header.get_item(tag)
    copy.file_meta = header.file_meta
    for name, kind in (("PatientBirthDate", DA), ("StudyDate", DA), ("StudyTime", TM)):
        try:
            kind(str(copy.get(name) or ""))
        except ValueError:  # noqa: PERF203  each by itself
            setattr(copy, name, "")
    if copy.get("PatientSex") not in SEXES:
        copy.PatientSex = ""
    copy.FrameOfReferenceUID = frame_of_reference(header)
    for name in ("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "PatientBirthDate", "PatientSex"):
        if name not in copy:
            setattr(copy, name, "")
    return copy
