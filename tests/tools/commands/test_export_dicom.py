# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pydicom
import pytest

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.write_ct import write_ct_series
from ctan_networks.tools.commands import export_dicom

SHAPE = (14, 12, 8)
LPS = np.diag([2.0, 2.5, 3.0, 1.0])
RAS = np.diag([-1.0, -1.0, 1.0, 1.0]) @ LPS


@pytest.fixture
def case(tmp_path):
    """A series of CT slices, beside them another object, and the results of an inference on them."""
    write_ct_series(tmp_path / "ct", np.zeros(SHAPE), LPS, name="A^B", patient_id="77")
    (tmp_path / "ct" / "notes.txt").write_text("no DICOM")
    masks = np.zeros((*SHAPE, 2), np.uint8)
    masks[2:6, 2:6, 2:5, 0] = masks[8:11, 3:9, 1:6, 1] = 1
    results = tmp_path / "out" / "P1"
    results.mkdir(parents=True)
    nib.save(nib.Nifti1Image(masks, RAS), results / "P1_structures.nii.gz")
    return tmp_path / "ct", results


def test_names_from_the_list_beside_the_structures(case, tmp_path):
    ct, results = case
    (results / "P1_structures.json").write_text(json.dumps(["Bladder", "PTV"]))
    written = export_dicom(str(ct), str(results), str(tmp_path / "d"), seg=False)
    data = pydicom.dcmread(written["RTSTRUCT"])
    assert [roi.ROIName for roi in data.StructureSetROISequence] == ["Bladder", "PTV"]
    assert data.PatientID == "77"
    z = [float(c.ContourData[2]) for c in data.ROIContourSequence[1].ContourSequence]
    assert sorted(z) == [3.0, 6.0, 9.0, 12.0, 15.0]
    # What the command line names goes before; fire gives numbers where names look like them.
    written = export_dicom(str(ct), str(results), str(tmp_path / "e"), structures=("Bladder", 7800), seg=False)
    names = [roi.ROIName for roi in pydicom.dcmread(written["RTSTRUCT"]).StructureSetROISequence]
    assert names == ["Bladder", "7800"]


@pytest.mark.parametrize(("text", "words"), [("{", "no JSON"), ('{"a": 1}', "a list of names")])
def test_a_bad_list_is_named(case, tmp_path, text, words):
    ct, results = case
    (results / "P1_structures.json").write_text(text)
    with pytest.raises(DataError, match=f"P1_structures.json.*{words}"):
        export_dicom(str(ct), str(results), str(tmp_path / "d"), seg=False)


def test_several_series_are_refused(case, tmp_path):
    ct, results = case
    write_ct_series(ct, np.zeros(SHAPE), LPS, name="A^B", patient_id="77", file_name="second_{:04d}.dcm")
    with pytest.raises(DataError, match="2 CT series"):
        export_dicom(str(ct), str(results), str(tmp_path / "d"), structures="A,B", seg=False)


def test_a_dose_on_another_grid_is_interpolated_on_the_cts(case, tmp_path):
    """A dose that is linear in the position is the same on every grid."""
    ct, results = case
    coarse = RAS @ np.diag([1.5, 1.2, 1.4, 1.0])
    dose = 10 + 0.5 * (np.indices((12, 12, 8)) * np.array([3.0, 3.0, 4.2])[:, None, None, None]).sum(axis=0)
    nib.save(nib.Nifti1Image(dose.astype(np.float32), coarse), results / "P1_dose.nii.gz")
    written = export_dicom(str(ct), str(results), str(tmp_path / "d"), structures="A,B", seg=False)
    data = pydicom.dcmread(written["RTDOSE"])
    found = data.pixel_array.transpose(2, 1, 0) * float(data.DoseGridScaling)
    wanted = 10 + 0.5 * (np.indices(SHAPE) * np.array([2.0, 2.5, 3.0])[:, None, None, None]).sum(axis=0)
    assert np.allclose(found, wanted, atol=1e-3)
    assert pydicom.dcmread(written["RTPLAN"]).SOPInstanceUID == (
        data.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID
    )
