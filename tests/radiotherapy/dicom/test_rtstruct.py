# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.sequence import Sequence

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.rtstruct import read_structures, referenced_series

FILE = Path("structures.dcm")
SQUARE = [0.0, 0.0, 5.0, 10.0, 0.0, 5.0, 10.0, 10.0, 5.0, 0.0, 10.0, 5.0]


def item(**values) -> pydicom.Dataset:
    made = pydicom.Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def contour(kind: str, data: list[float]) -> pydicom.Dataset:
    return item(ContourGeometricType=kind, NumberOfContourPoints=len(data) // 3, ContourData=data)


def structure_set(contours: dict[int, list[pydicom.Dataset]], names: dict[int, str]) -> pydicom.Dataset:
    return item(
        StructureSetROISequence=Sequence(item(ROINumber=n, ROIName=name) for n, name in names.items()),
        ROIContourSequence=Sequence(
            item(ReferencedROINumber=n, ContourSequence=Sequence(drawn)) for n, drawn in contours.items()
        ),
        RTROIObservationsSequence=Sequence([item(ReferencedROINumber=1, RTROIInterpretedType="PTV")]),
    )


def test_only_contours_that_enclose_an_area_count(caplog):
    caplog.set_level("INFO")
    data = structure_set(
        {
            1: [
                contour("CLOSED_PLANAR", SQUARE),
                contour("CLOSEDPLANAR_XOR", SQUARE),
                contour("POINT", [1.0, 2.0, 3.0]),
                contour("OPEN_PLANAR", SQUARE),
                contour("OPEN_NONPLANAR", SQUARE),
                contour("CLOSED_PLANAR", SQUARE[:6]),
            ],
            2: [contour("POINT", [1.0, 2.0, 3.0])],
        },
        {1: " PTV ", 2: "Isocentre", 3: "Never drawn"},
    )
    found = {s.name: s for s in read_structures(FILE, data)}
    assert {name: len(s.contours) for name, s in found.items()} == {"PTV": 2, "Isocentre": 0, "Never drawn": 0}
    assert found["PTV"].kind == "PTV" and np.array_equal(found["PTV"].contours[0], np.reshape(SQUARE, (4, 3)))
    for words in ("2 POINT", "1 OPEN_PLANAR", "1 OPEN_NONPLANAR", "1 fewer than 3 points"):
        assert words in caplog.text


def test_what_is_damaged_is_named():
    with pytest.raises(DataError, match="structures.dcm holds no structure set"):
        read_structures(FILE, item(Modality="CT"))
    data = structure_set({1: [contour("CLOSED_PLANAR", SQUARE[:-1])]}, {1: "A"})
    with pytest.raises(DataError, match="structures.dcm: a contour has 11 coordinates"):
        read_structures(FILE, data)


def test_a_structure_set_that_names_no_series():
    assert referenced_series(item(Modality="RTSTRUCT")) == set()


def test_contours_that_were_cut_short_are_counted(caplog):
    data = structure_set({1: [contour("CLOSED_PLANAR", SQUARE), contour("CLOSED_PLANAR", SQUARE)]}, {1: "A"})
    data.ROIContourSequence[0].ContourSequence[0].NumberOfContourPoints = 400
    read_structures(FILE, data)
    assert "structures.dcm: 1 contours have fewer points than they state" in caplog.text
