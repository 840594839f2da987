# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pydicom
import pytest

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.write_ct import write_ct_series
from ctan_networks.radiotherapy.image_mark import mark, series_content, voxel_content
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


@pytest.mark.parametrize(
    ("shape", "affine"),
    [
        ((12, 12, 8), RAS @ np.diag([1.5, 1.2, 1.4, 1.0])),  # coarser
        ((14, 12, 7), RAS),  # a slice less
        (SHAPE, RAS + np.array([[0, 0, 0, 5.0], [0] * 4, [0] * 4, [0] * 4])),  # beside it
        (SHAPE, np.eye(4)),  # a header that got lost
        ((12, 14, 8), RAS[:, [1, 0, 2, 3]] @ np.diag([1.0, 1.0, 1.1, 1.0])),  # axes exchanged, thicker slices
    ],
)
def test_a_result_on_another_grid_is_refused(case, tmp_path, shape, affine):
    ct, results = case
    nib.save(nib.Nifti1Image(np.ones(shape, np.float32), affine), results / "P1_dose.nii.gz")
    with pytest.raises(DataError, match="P1_dose.nii.gz does not lie on the CT's grid"):
        export_dicom(str(ct), str(results), str(tmp_path / "d"), structures="A,B", seg=False)
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("axes", ["LPS", "RAS", "SPL", "ILA"])
def test_the_order_of_the_axes_does_not_matter(case, tmp_path, axes):
    ct, results = case
    dose = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    image = nib.Nifti1Image(dose, RAS)
    turn = nib.orientations.ornt_transform(nib.io_orientation(RAS), nib.orientations.axcodes2ornt(axes))
    nib.save(image.as_reoriented(turn), results / "P1_dose.nii.gz")
    written = export_dicom(str(ct), str(results), str(tmp_path / "d"), structures="A,B", seg=False)
    data = pydicom.dcmread(written["RTDOSE"])
    assert np.allclose(data.pixel_array.transpose(2, 1, 0) * float(data.DoseGridScaling), dose, atol=1e-6)


def result_of(folder, image: dict, **dose) -> None:
    (folder / "P1_result.json").write_text(json.dumps({"image": image, "dose": dose}))


def test_results_of_another_series_are_refused(case, tmp_path, caplog):
    """Two patients whose scans have the same grid."""
    ct, results = case
    other = tmp_path / "other"
    write_ct_series(other, np.zeros(SHAPE), LPS, name="C^D", patient_id="88")
    uid = pydicom.dcmread(next(ct.glob("*.dcm"))).SeriesInstanceUID
    result_of(results, {"series": mark(series_content(uid))})
    export_dicom(str(ct), str(results), str(tmp_path / "d"), structures="A,B", seg=False)
    assert not caplog.records and uid not in (results / "P1_result.json").read_text()
    for path in (other, _nifti(tmp_path / "other.nii.gz")):
        with pytest.raises(DataError, match="were predicted on"):
            export_dicom(str(path), str(results), str(tmp_path / "e"), structures="A,B", seg=False)
    assert not (tmp_path / "e").exists()
    result_of(results, {"series": "1.2.3"})
    with pytest.raises(DataError, match="no mark of an image"):
        export_dicom(str(ct), str(results), str(tmp_path / "e"), structures="A,B", seg=False)


def _nifti(file, hu: float = 0.0):
    volume = np.full(SHAPE, hu, np.int16)
    volume[2, 3, 4] = 77
    nib.save(nib.Nifti1Image(volume, RAS), file)
    return file


def test_results_of_a_volume_are_known_by_its_voxels(case, tmp_path):
    """Predicted on NIfTI, they may go to the DICOM series that it was made of, and to no other of its grid."""
    ct, results = case
    file = _nifti(tmp_path / "ct.nii.gz")
    image = nib.load(file)
    result_of(results, {"voxels": mark(voxel_content(image.get_fdata(), image.affine))}, prescription=41.4)
    with pytest.raises(DataError, match="predicted on another image"):
        export_dicom(str(ct), str(results), str(tmp_path / "d"), structures="A,B", seg=False)
    same = tmp_path / "same"
    write_ct_series(same, image.get_fdata(), LPS, name="A^B", patient_id="77")
    nib.save(nib.Nifti1Image(np.ones(SHAPE, np.float32), RAS), results / "P1_dose.nii.gz")
    written = export_dicom(str(same), str(results), str(tmp_path / "d"), structures="A,B", seg=False)
    plan = pydicom.dcmread(written["RTPLAN"])
    assert plan.DoseReferenceSequence[0].TargetPrescriptionDose == 41.4 and plan.PatientID == "77"
    with pytest.raises(DataError, match="predicted on another image"):
        other = _nifti(tmp_path / "other.nii.gz", 5.0)
        export_dicom(str(other), str(results), str(tmp_path / "d"), structures="A,B", seg=False)


def test_results_that_do_not_say_where_they_come_from_are_worth_a_warning(case, tmp_path, caplog):
    ct, results = case
    export_dicom(str(ct), str(results), str(tmp_path / "d"), structures="A,B", seg=False)
    assert "do not say which image" in caplog.text


def test_results_of_two_cases_in_one_folder(case, tmp_path):
    ct, results = case
    nib.save(nib.Nifti1Image(np.ones(SHAPE, np.float32), RAS), results / "P2_dose.nii.gz")
    with pytest.raises(DataError, match="results of several cases: P1, P2"):
        export_dicom(str(ct), str(results), str(tmp_path / "d"), structures="A,B", seg=False)
    (results / "P2_dose.nii.gz").unlink()
    (results / "P2_result.json").write_text("{}")
    with pytest.raises(DataError, match="several cases"):
        export_dicom(str(ct), str(results), str(tmp_path / "d"), structures="A,B", seg=False)
    (results / "P2_result.json").rename(results / "P1_result.json").write_text("[1]")
    with pytest.raises(DataError, match="not a result"):
        export_dicom(str(ct), str(results), str(tmp_path / "d"), structures="A,B", seg=False)


def test_structures_that_an_older_run_left_are_refused(case, tmp_path):
    """The case of one cohort has the name of one of another, and this time the dose alone was predicted."""
    ct, results = case
    nib.save(nib.Nifti1Image(np.ones(SHAPE, np.float32), RAS), results / "P1_dose.nii.gz")
    uid = pydicom.dcmread(next(ct.glob("*.dcm"))).SeriesInstanceUID
    result_of(results, {"series": mark(series_content(uid)), "files": ["P1_dose.nii.gz"]})
    with pytest.raises(DataError, match="P1_structures.nii.gz was not written with the result"):
        export_dicom(str(ct), str(results), str(tmp_path / "d"), structures="A,B", seg=False)
    (results / "P1_structures.nii.gz").unlink()
    assert set(export_dicom(str(ct), str(results), str(tmp_path / "d"))) == {"RTDOSE", "RTPLAN"}
