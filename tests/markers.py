# SPDX-License-Identifier: Apache-2.0
"""Marks in place of what identifies a patient, and a search for them in whatever a program wrote."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pydicom
from pydicom.datadict import dictionary_VR, tag_for_keyword

__all__ = ["ELEMENTS", "MARKS", "find_marks", "mark_dicom"]

# Keyword to its value; each value is found nowhere by chance.
ELEMENTS = {
    "PatientName": "ZZQNAME^ZZQFIRST",
    "PatientID": "ZZQID7781",
    "PatientBirthDate": "19020717",
    "OtherPatientIDs": "ZZQOTHER",
    "PatientAddress": "ZZQSTREET",
    "PatientComments": "ZZQCOMMENT",
    "AccessionNumber": "ZZQACC",
    "StudyID": "ZZQSTUDY",
    "InstitutionName": "ZZQHOSPITAL",
    "InstitutionAddress": "ZZQTOWN",
    "ReferringPhysicianName": "ZZQDOCTOR",
    "OperatorsName": "ZZQOPERATOR",
    "StationName": "ZZQSTATION",
    "StudyDescription": "ZZQSTUDYTEXT",
    "SeriesDescription": "ZZQSERIESTEXT",
    "RequestedProcedureDescription": "ZZQREQUEST",
    "RTPlanLabel": "ZZQPLAN",
    "StructureSetLabel": "ZZQSET",
    "DoseComment": "ZZQDOSETEXT",
}
PRIVATE = "ZZQPRIVATE"
MARKS = tuple(part for value in (*ELEMENTS.values(), PRIVATE) for part in value.split("^"))


def mark_dicom(file: Path) -> None:
    """Put every mark into a DICOM file, and one into a private element."""
    data = pydicom.dcmread(file)
    for keyword, value in ELEMENTS.items():
        data.add_new(tag_for_keyword(keyword), dictionary_VR(keyword), value)
    data.private_block(0x0099, "ZZQ", create=True).add_new(1, "LO", PRIVATE)
    data.save_as(file)


def find_marks(*places: Path | bytes) -> dict[str, list[str]]:
    """Mark to the files that hold it, in whatever way: as it is, in UTF-16, compressed, in archives within archives."""
    found: dict[str, list[str]] = {}
    for place in places:
        files = [("text", place)] if isinstance(place, bytes) else _files(place)
        for name, content in files:
            for inner, data in _layers(name, content):
                lowered = data.lower()
                for mark in MARKS:
                    spelled = (mark.lower().encode(), mark.lower().encode("utf-16-le"))
                    if any(way in lowered for way in spelled):
                        found.setdefault(mark, []).append(inner)
                    # Names of files count.
                    if mark.lower() in inner.lower():
                        found.setdefault(mark, []).append(inner)
    return found


def _files(place: Path) -> Iterator[tuple[str, bytes]]:
    for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
        if file.is_file():
            yield str(file.relative_to(place.parent)), file.read_bytes()


def _layers(name: str, content: bytes, depth: int = 0) -> Iterator[tuple[str, bytes]]:
    """The bytes, and what is packed in them."""
    yield name, content
    if depth > 3:
        return
    if content[:2] == b"\x1f\x8b":
        yield from _layers(f"{name}(gz)", gzip.decompress(content), depth + 1)
    elif content[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.namelist():
                yield from _layers(f"{name}/{member}", archive.read(member), depth + 1)
    elif content[:8] == b"\x89PNG\r\n\x1a\n":
        # Texts of a PNG may be deflated.
        at = 8
        while at + 8 <= len(content):
            size, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
            chunk = content[at + 8 : at + 8 + size]
            if kind in (b"zTXt", b"iTXt"):
                for start in range(len(chunk)):
                    if chunk[start : start + 1] == b"\x78":
                        try:
                            yield f"{name}({kind.decode()})", zlib.decompress(chunk[start:])
                        except zlib.error:
                            continue
            at += size + 12
