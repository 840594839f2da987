# SPDX-License-Identifier: Apache-2.0
"""Broken patients in DICOM-RT: lists, conversion, stored and computed dose-volume histograms."""

from __future__ import annotations

import math
import shutil
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from harness import Wrong
from hypothesis import strategies as st
from patients import put, save, write_patient
from pydicom.sequence import Sequence

from ctan_networks.datasets.inference_cases import prescribed_list
from ctan_networks.datasets.prostate.data_list import dicom_rt_list
from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.contour_dvh import contour_dvh
from ctan_networks.radiotherapy.dicom.rtdose import DoseGrid, read_dose
from ctan_networks.radiotherapy.dicom.rtstruct import read_structures
from ctan_networks.radiotherapy.dicom.stored_dvh import read_stored_dvhs

PATTERNS = {"Bladder": ["bladder"], "PTV": ["ptv"]}


def read(folder: Path) -> str:
    patient = folder / "P1"
    if patient.is_dir() and (patient / "RD.dcm").is_file():
        grid = read_dose(patient / "RD.dcm")
        if not np.isfinite(grid.dose).all() or grid.dose.min() < 0 or not np.isfinite(grid.affine).all():
            raise Wrong("a dose that is negative or not finite")
        for dvh in read_stored_dvhs(patient / "RD.dcm", prescription=60.0):
            if not (np.isfinite(dvh.dose).all() and (np.diff(dvh.dose) >= 0).all()):
                raise Wrong("a stored DVH whose doses do not ascend")
        if (patient / "RS.dcm").is_file():
            _compute_dvhs(patient, grid)
    converted = folder.parent / "converted"
    shutil.rmtree(converted, ignore_errors=True)
    (item,) = dicom_rt_list(folder, converted, PATTERNS)
    prescribed_list(folder)
    if "unusable" in item:
        if folder.parent.name not in item["unusable"]:
            raise Wrong(f"the reason names no file: {item['unusable']}")
        return "left out"
    if not (math.isfinite(item["prescription"]) and item["prescription"] > 0):
        raise Wrong(f"prescription {item['prescription']}")
    ct = nib.load(item["image"])
    if not np.isfinite(np.asanyarray(ct.dataobj)).all() or not np.isfinite(ct.affine).all():
        raise Wrong("CT not finite")
    if not {"segmentation", "dose"} & item.keys():
        raise Wrong("neither structures nor dose")
    dose = np.asanyarray(nib.load(item["dose"]).dataobj)
    if not np.isfinite(dose).all() or dose.min() < 0:
        raise Wrong("dose not finite, or negative")
    for name in PATTERNS:
        file = Path(item["image"]).with_name(f"{name}.nii.gz")
        if file.exists():
            mask = np.asanyarray(nib.load(file).dataobj)
            if mask.shape != ct.shape or not mask.any():
                raise Wrong(f"{name}: empty, or on another grid")
    return "read"


def _compute_dvhs(patient: Path, grid: DoseGrid) -> None:
    for structure in read_structures(patient / "RS.dcm"):
        if structure.contours:
            try:
                mean = contour_dvh(structure, grid).mean
            except DataError as error:
                # It knows no file, only the structure.
                if repr(structure.name) not in str(error):
                    raise Wrong(f"the error does not name {structure.name!r}: {error}") from None
                continue
            if not math.isfinite(mean):
                raise Wrong("a DVH whose mean is not finite")


@pytest.fixture
def cohort(tmp_path):
    write_patient(tmp_path / "template" / "P1")
    return tmp_path / "template"


DECIMALS = [b"0", b"-1", b"nan", b"inf", b"1e30", b"1e-30", b"1e400", b"abc", b"", b"1\\2", b"\xff", b"1_0", None]
UIDS = [b"", b"1.2.3", b"x", b"\xff", b"1.2\\1.3", None]
WHOLE = [b"0", b"-1", b"1", b"99", b"1.5", b"abc", b"", b"1\\2", b"1e30", None]
GARBAGE = [b"", b"x", b"\xfe\xff\x00\xe0\xff\xff\xff\xff", None]
SQUARE = b"0\\0\\36\\10\\0\\36\\10\\10\\36\\0\\10\\36"


def zigzag(points: int) -> bytes:
    return b"\\".join(b"%d\\%d\\36" % (k % 7, -20 if k % 2 else 20) for k in range(points))


# File, path of sequences to where the element stands, element, values.
PLACES: list[tuple[str, tuple[str, ...], str, list[bytes | None]]] = [
    ("RS", (), "StructureSetROISequence", GARBAGE),
    ("RS", ("StructureSetROISequence",), "ROINumber", WHOLE),
    ("RS", ("StructureSetROISequence",), "ROIName", [b"", b"PTV", b"\xff\xfe", b"a\\b", b"x" * 5000, None]),
    ("RS", ("StructureSetROISequence",), "ReferencedFrameOfReferenceUID", UIDS),
    ("RS", (), "ROIContourSequence", GARBAGE),
    ("RS", ("ROIContourSequence",), "ReferencedROINumber", WHOLE),
    ("RS", ("ROIContourSequence",), "ContourSequence", GARBAGE),
    (
        "RS",
        ("ROIContourSequence", "ContourSequence"),
        "ContourData",
        [
            b"", b"1", b"1\\2\\3", b"1\\2\\3\\4", b"nan\\0\\36\\1\\1\\36\\2\\0\\36", b"inf\\0\\36\\1\\1\\36\\2\\0\\36",
            b"a\\b\\c", b"1e30\\0\\36\\0\\1e30\\36\\0\\0\\36", b"1e300\\0\\36\\-1e300\\1\\36\\0\\0\\36", SQUARE,
            b"0\\0\\36\\10\\0\\33\\10\\10\\36", b"0\\0\\1e6\\10\\0\\1e6\\10\\10\\1e6", b"5\\5\\36\\5\\5\\36\\5\\5\\36",
            zigzag(3000), SQUARE * 2, None,
        ],
    ),
    (
        "RS",
        ("ROIContourSequence", "ContourSequence"),
        "ContourGeometricType",
        [b"POINT", b"OPEN_PLANAR", b"", b"x", None],
    ),
    ("RS", ("RTROIObservationsSequence",), "ReferencedROINumber", WHOLE),
    ("RS", (), "ReferencedFrameOfReferenceSequence", GARBAGE),
    ("RS", ("ReferencedFrameOfReferenceSequence",), "FrameOfReferenceUID", UIDS),
    ("RS", ("ReferencedFrameOfReferenceSequence",), "RTReferencedStudySequence", GARBAGE),
    ("RS", (), "Modality", [b"RTDOSE", b"CT", b"RTPLAN", b"", b"\xff", None]),
    ("RS", (), "SOPInstanceUID", UIDS),
    ("RD", (), "DoseGridScaling", DECIMALS),
    ("RD", (), "DoseUnits", [b"RELATIVE", b"", b"Gy", b"GY\\GY", None]),
    ("RD", (), "DoseType", [b"ERROR", b"", b"x", None]),
    ("RD", (), "DoseSummationType", [b"BEAM", b"FRACTION", b"", b"x", None]),
    (
        "RD",
        (),
        "GridFrameOffsetVector",
        [b"", b"0", b"0\\3", b"nan\\1\\2\\3\\4\\5", b"0\\0\\0\\0\\0\\0", b"0\\3\\6\\9\\12\\1e30", b"5\\4\\3\\2\\1\\0",
         b"0\\3\\6\\9\\inf\\15", b"a\\b", b"0\\-3\\-6\\-9\\-12\\-15", None],
    ),
    ("RD", (), "PixelSpacing", [b"0\\0", b"-1\\1", b"nan\\1", b"1e30\\1", b"1", b"a\\b", b"", None]),
    ("RD", (), "ImagePositionPatient", [b"nan\\0\\0", b"0\\0", b"0\\0\\1e30", b"a\\b\\c", b"", None]),
    (
        "RD",
        (),
        "ImageOrientationPatient",
        [b"0\\0\\0\\0\\0\\0", b"nan\\0\\0\\0\\1\\0", b"1\\0\\0", b"9\\0\\0\\0\\9\\0", b"", None],
    ),
    ("RD", (), "NumberOfFrames", [b"0", b"-1", b"1", b"7", b"2147483647", b"x", b"", None]),
    ("RD", (), "Rows", [struct.pack("<H", n) for n in (0, 1, 11, 65535)]),
    ("RD", (), "Columns", [struct.pack("<H", n) for n in (0, 1, 13, 65535)]),
    ("RD", (), "BitsAllocated", [struct.pack("<H", n) for n in (0, 1, 8, 16, 32, 64, 65535)]),
    ("RD", (), "PixelRepresentation", [struct.pack("<H", n) for n in (0, 1, 2)]),
    ("RD", (), "SamplesPerPixel", [struct.pack("<H", n) for n in (0, 2, 3)]),
    ("RD", (), "PixelData", [b"", b"\x00\x00", b"\xff" * 2016, None]),
    ("RD", (), "FrameOfReferenceUID", UIDS),
    ("RD", (), "ReferencedRTPlanSequence", GARBAGE),
    ("RD", ("ReferencedRTPlanSequence",), "ReferencedSOPInstanceUID", UIDS),
    ("RD", (), "DVHSequence", GARBAGE),
    (
        "RD",
        ("DVHSequence",),
        "DVHData",
        [b"", b"1", b"nan\\1", b"1\\2\\3", b"-1\\5\\-1\\4", b"1\\inf\\1\\2", b"1e30\\1", b"0\\0", None],
    ),
    ("RD", ("DVHSequence",), "DVHDoseScaling", DECIMALS),
    ("RD", ("DVHSequence",), "DVHType", [b"DIFFERENTIAL", b"", None]),
    ("RD", ("DVHSequence",), "DVHMaximumDose", DECIMALS),
    ("RD", ("DVHSequence", "DVHReferencedROISequence"), "ReferencedROINumber", WHOLE),
    ("RP", ("DoseReferenceSequence",), "TargetPrescriptionDose", DECIMALS),
    ("RP", (), "DoseReferenceSequence", GARBAGE),
    ("RP", (), "SOPInstanceUID", UIDS),
    ("RP", (), "FrameOfReferenceUID", UIDS),
    ("RP", (), "ReferencedStructureSetSequence", GARBAGE),
    ("RP", (), "Modality", [b"RTSTRUCT", b"CT", b"", None]),
]  # fmt: skip
PLACE = st.sampled_from(range(len(PLACES))).flatmap(lambda k: st.tuples(st.just(k), st.sampled_from(PLACES[k][3])))
CHANGES = st.tuples(st.lists(PLACE, min_size=1, max_size=2), st.sampled_from([False, False, False, True]))


def change(folder: Path, drawn: tuple) -> str:
    """Put values into one item of a sequence, or into all of them."""
    fields, everywhere = drawn
    said = []
    for k, value in fields:
        name, path, keyword, _ = PLACES[k]
        file = folder / "P1" / f"{name}.dcm"
        data = pydicom.dcmread(file)
        places = [data]
        for step in path:
            # An earlier change may have put text where the sequence was.
            sequences = [place.get(step) for place in places]
            places = [item for sequence in sequences if isinstance(sequence, Sequence) for item in sequence]
        for place in places if everywhere else places[:1]:
            put(place, keyword, value)
        save(data, file)
        said.append(f"{name} {'/'.join((*path, keyword))} = {value if value is None else value[:40]!r}")
    return "; ".join(said) + (" everywhere" if everywhere else "")


def test_dicom_rt(fuzz, cohort):
    fuzz("dicom-rt", cohort, read, change, CHANGES)
