# SPDX-License-Identifier: Apache-2.0
"""What scanners, archives and planning systems put beside the slices of a CT, or make of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    EnhancedCTImageStorage,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)

__all__ = ["BESIDE", "add_report", "add_scout", "add_series", "edit_slices", "enhance", "into_folders", "slices"]

# Per frame, shared, or both.
MEASURES = ("PixelSpacing", "SliceThickness")
RESCALE = ("RescaleSlope", "RescaleIntercept", "RescaleType")
AP, LATERAL = (1, 0, 0, 0, 0, -1), (0, 1, 0, 0, 0, -1)


def slices(folder: Path) -> list[Path]:
    """Files of the CT that :py:func:`small_patient.write_small_patient` has written."""
    return sorted(folder.rglob("CT_*.dcm"))


def edit_slices(files: Iterable[Path], edit: Callable[[Dataset], None]) -> None:
    """Edit files in place."""
    for file in files:
        data = pydicom.dcmread(file)
        edit(data)
        data.save_as(file)


def renew(data: Dataset, series: str | None = None, sop_class: str | None = None) -> Dataset:
    """Another instance; of another series and class, where they are given."""
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.SeriesInstanceUID = series or data.SeriesInstanceUID
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = sop_class or data.SOPClassUID
    return data


def save(data: Dataset, file: Path) -> Path:
    """Write a file, in a folder that may not be there yet."""
    file.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(file)
    return file


def add_scout(folder: Path, where: str, tagged: bool = True, own_series: bool = True, views: int = 1) -> None:
    """Projections of a CT scanner: in a series of their own or in the CT's, called LOCALIZER or not."""
    series = generate_uid() if own_series else None
    for k, orientation in enumerate((AP, LATERAL)[:views]):
        data = renew(pydicom.dcmread(slices(folder)[0]), series)
        data.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER" if tagged else "AXIAL"]
        data.ImageOrientationPatient = list(orientation)
        save(data, folder / where / f"scout{k}")


def add_report(folder: Path, where: str, own_series: bool = True, geometry: bool = False) -> None:
    """A dose report or screenshot: Modality CT, Secondary Capture; with geometry it is a slice's picture."""
    data = renew(
        pydicom.dcmread(slices(folder)[4]), generate_uid() if own_series else None, SecondaryCaptureImageStorage
    )
    data.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    if not geometry:
        for name in (
            "ImagePositionPatient",
            "ImageOrientationPatient",
            "PixelSpacing",
            *RESCALE,
            "FrameOfReferenceUID",
        ):
            del data[name]
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
        data.BitsAllocated = data.BitsStored = 8
        data.HighBit, data.PixelData = 7, bytes(3 * data.Rows * data.Columns)
    save(data, folder / where / "report")


def add_series(
    folder: Path, where: str, modality: str = "CT", other_study: bool = False, one_place: bool = False
) -> str:
    """Another series of the same place: a second reconstruction, PET, MR, or images of one place (bolus tracking)."""
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    classes = {"PT": PositronEmissionTomographyImageStorage, "MR": MRImageStorage}
    for k, file in enumerate(slices(folder)[:4] if one_place else slices(folder)):
        data = renew(pydicom.dcmread(slices(folder)[5] if one_place else file), series, classes.get(modality))
        # The PET of some scanners says that its modality is CT.
        data.Modality = "CT" if where == "CTPET" else modality
        data.PixelData = (data.pixel_array // 2 + 700).astype(np.uint16).tobytes()
        if other_study:
            data.StudyInstanceUID, data.FrameOfReferenceUID = study, frame
        save(data, folder / where / f"{modality}{k:03d}")
    return series


def into_folders(folder: Path) -> None:
    """CT/, RS/, RP/ and RD/ in place of one folder."""
    for file in [f for f in folder.iterdir() if f.is_file()]:
        (folder / file.name[:2]).mkdir(exist_ok=True)
        file.rename(folder / file.name[:2] / file.name)


def group(**values: object) -> Sequence:
    """A functional group."""
    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return Sequence([item])


def enhance(files: list[Path], target: Path, order: Iterable[int] | None = None, per_frame: bool = False) -> Path:
    """Put single-frame slices into one enhanced CT image (PS3.3 A.38).

    Args:
        files: of the slices; they are removed.
        target: the file.
        order: of the frames; None: that of the files.
        per_frame: each frame has a rescale intercept of its own.

    """
    data = [pydicom.dcmread(file) for file in files]
    data = [data[k] for k in (order if order is not None else range(len(data)))]
    first = renew(pydicom.dcmread(files[0]), sop_class=EnhancedCTImageStorage)
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "SliceLocation", *MEASURES, *RESCALE):
        del first[name]
    first.ImageType, first.NumberOfFrames = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], len(data)
    shared = Dataset()
    shared.PlaneOrientationSequence = group(ImageOrientationPatient=data[0].ImageOrientationPatient)
    shared.PixelMeasuresSequence = group(**{name: data[0][name].value for name in MEASURES})
    shared.CTImageFrameTypeSequence = group(FrameType=first.ImageType)
    if not per_frame:
        shared.PixelValueTransformationSequence = group(**{name: data[0][name].value for name in RESCALE})
    frames, planes = [], []
    for k, single in enumerate(data):
        frame, shift = Dataset(), 10 * (k % 3) if per_frame else 0
        frame.PlanePositionSequence = group(ImagePositionPatient=single.ImagePositionPatient)
        frame.FrameContentSequence = group(StackID="1", InStackPositionNumber=k + 1, DimensionIndexValues=[1, k + 1])
        if per_frame:
            intercept = float(single.RescaleIntercept) - shift
            frame.PixelValueTransformationSequence = group(RescaleSlope=1, RescaleIntercept=intercept, RescaleType="HU")
        frames.append(frame)
        planes.append((single.pixel_array + shift).astype("<u2"))
    first.SharedFunctionalGroupsSequence, first.PerFrameFunctionalGroupsSequence = Sequence([shared]), Sequence(frames)
    first.PixelData = np.stack(planes).tobytes()
    for file in files:
        file.unlink()
    return save(first, target)


BESIDE: dict[str, Callable[[Path], object]] = {
    "scout": lambda p: add_scout(p, "."),
    "scout in its own folder": lambda p: add_scout(p, "SCOUT"),
    "scout in the series": lambda p: add_scout(p, ".", own_series=False),
    "scout without the word": lambda p: add_scout(p, "SCOUT", tagged=False),
    "scout without the word in the series": lambda p: add_scout(p, ".", tagged=False, own_series=False),
    "two scouts in the series": lambda p: add_scout(p, ".", own_series=False, views=2),
    "dose report": lambda p: add_report(p, "."),
    "dose report in its own folder": lambda p: add_report(p, "REPORT"),
    "screenshot in the series": lambda p: add_report(p, ".", own_series=False, geometry=True),
    "second reconstruction": lambda p: add_series(p, "CTB"),
    "PET": lambda p: add_series(p, "PT", "PT"),
    "PET that says CT": lambda p: add_series(p, "CTPET", "PT"),
    "CT of another study": lambda p: add_series(p, "CTAC", other_study=True),
    "MR of another study": lambda p: add_series(p, "MR", "MR", other_study=True),
    "bolus tracking": lambda p: add_series(p, "BOLUS", one_place=True),
    "DICOMDIR and notes": lambda p: [(p / name).write_text("no slice") for name in ("DICOMDIR", "notes.txt", ".x")],
}
"""What may lie beside a planned CT without changing how it is read."""
