# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from small_patient import change, write_small_patient

from ctan_networks.datasets.case_reader import CaseReader
from ctan_networks.datasets.inference_cases import prescribed_list
from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.identity import PatientIdentity
from ctan_networks.radiotherapy.dicom.patient_folder import read_ct, read_treatment_plan, scan_folder


def who(number: str = "", name: str = "", birth: str = "") -> PatientIdentity:
    data = pydicom.Dataset()
    data.PatientID, data.PatientName, data.PatientBirthDate = number, name, birth
    return PatientIdentity.read("file", data)


@pytest.mark.parametrize(
    ("one", "other", "attribute"),
    [
        (who("1", "Doe^Jane"), who("1", "Doe^Jane"), ""),
        (who("1", "Doe^Jane"), who("2", "Doe^Jane"), "PatientID"),
        (who(" a1 "), who("A1"), ""),
        # The same number: a name that is written in another way, or changed in part.
        (who("1", "DOE^JANE"), who("1", "Jane_Doe"), ""),
        (who("1", "Doe^Jane"), who("1", "Smith^Jane^M"), ""),
        (who("1", "Doe^Jane"), who("1", "Roe^Richard"), "PatientName"),
        (who("1", "Doe^Jane", "19700101"), who("1", "Doe^Jane", "19700102"), "PatientBirthDate"),
        # Without a number the names tell.
        (who("", "Doe^Jane"), who("", "Doe^Jane^M"), ""),
        (who("", "Doe^Jane"), who("", "Doe^John"), "PatientName"),
        (who("1", "Doe^Jane"), who("", "Roe^Richard"), "PatientName"),
        # What is not stated contradicts nothing.
        (who("1", "Doe^Jane", "19700101"), who("", ""), ""),
        (who("", ""), who("", ""), ""),
        (who("1", "", "unknown"), who("1", "", "19700101"), ""),
    ],
)
def test_two_identities(one, other, attribute):
    assert one.differs(other) == other.differs(one) == attribute


def other_patient(data: pydicom.Dataset) -> None:
    data.PatientID, data.PatientName = "ID2", "Somebody^Else"


@pytest.mark.parametrize("pattern", ["RS.dcm", "RP.dcm", "RD1.dcm", "*0003*"])
def test_no_object_of_another_patient(tmp_path, pattern):
    folder = write_small_patient(tmp_path / "p")
    (file,) = folder.glob(pattern)
    change(file, other_patient)
    for read in (lambda: read_treatment_plan(scan_folder(folder)), lambda: CaseReader().get_data(folder)):
        with pytest.raises(DataError, match=f"files of two patients: .*{file.name}.*PatientID") as caught:
            read()
        assert "ID1" not in str(caught.value) and "Else" not in str(caught.value)
    with pytest.raises(DataError, match="none of 1 cases"):
        prescribed_list(folder)


def test_a_second_patient_in_a_sub_folder(tmp_path):
    """Whichever series a reader would take, it would be that of one patient under the name of the other."""
    folder = write_small_patient(tmp_path / "p")
    (folder / "RS.dcm").unlink()
    write_small_patient(folder / "planning", root="2")
    for read in (read_ct, read_treatment_plan):
        with pytest.raises(DataError, match="files of two patients"):
            read(scan_folder(folder))
    with pytest.raises(DataError, match="files of two patients"):
        CaseReader().get_data(Path(folder))
