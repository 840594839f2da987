# SPDX-License-Identifier: Apache-2.0
"""Marks in place of what identifies a patient, and a search for them in whatever a program wrote."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image, PngImagePlugin
from pydicom.datadict import dictionary_VR, tag_for_keyword

__all__ = ["ELEMENTS", "MARKS", "find_marks", "mark_dicom", "mark_itk", "mark_photo"]

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


def mark_itk(file: Path, array: np.ndarray, affine: np.ndarray | None = None) -> None:
    """Write a volume as MetaImage or NRRD, with marks under keys as converters of DICOM write them.

    Args:
        file: .mha, .mhd or .nrrd.
        array: ``[x, y, z]``.
        affine: RAS, with axes along the patient's; None: voxels of 1 mm.

    """
    import itk

    image = itk.image_from_array(np.ascontiguousarray(array.T))
    if affine is not None:
        turned = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
        spacing = np.linalg.norm(turned[:3, :3], axis=0)
        image.SetSpacing(spacing.tolist())
        image.SetOrigin(turned[:3, 3].tolist())
        image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(turned[:3, :3] / spacing)))
    header = image.GetMetaDataDictionary()
    keys = ("PatientName", "PatientID", "PatientBirthDate", "0010|0010", "0008|0080", "Comment")
    for key, mark in zip(keys, MARKS, strict=False):
        header.Set(key, itk.MetaDataObject[str].New(MetaDataObjectValue=mark))
    itk.imwrite(image, str(file), compression=file.suffix == ".mha")


def mark_photo(picture: Image.Image, file: Path) -> None:
    """Write a picture with marks in EXIF, comment or texts, XMP and the name of its colour profile."""
    exif = picture.getexif()
    # ImageDescription, Artist.
    exif[0x010E], exif[0x013B] = MARKS[0], MARKS[1]
    profile = b"\0" * 128 + MARKS[2].encode()
    xmp = f"<x:xmpmeta><dc:creator>{MARKS[3]}</dc:creator></x:xmpmeta>"
    more: dict[str, object] = {"icc_profile": profile}
    if file.suffix == ".png":
        texts = PngImagePlugin.PngInfo()
        texts.add_text("Author", MARKS[4], zip=True)
        texts.add_itxt("XML:com.adobe.xmp", xmp)
        more["pnginfo"] = texts
    elif file.suffix == ".jpg":
        more |= {"comment": MARKS[4].encode(), "xmp": xmp.encode(), "quality": 95}
    picture.save(file, exif=exif, **more)


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
        # One that is cut short is searched as far as it goes.
        unpacked = b""
        with suppress(EOFError, OSError, zlib.error), gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            while piece := stream.read1(1 << 20):
                unpacked += piece
        yield from _layers(f"{name}(gz)", unpacked, depth + 1)
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
