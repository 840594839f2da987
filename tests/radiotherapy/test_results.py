# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from monai.data import MetaTensor
from pydicom.sr.codedict import codes

from ctan_networks.datasets.prostate.phantoms import prostate_cohort
from ctan_networks.errors import ConfigError, DataError
from ctan_networks.radiotherapy.dicom.patient_folder import read_ct, read_treatment_plan, scan_folder
from ctan_networks.radiotherapy.dicom.rasterise import rasterise
from ctan_networks.radiotherapy.dicom.rtdose import read_dose, resample_dose
from ctan_networks.radiotherapy.dicom.rtstruct import read_structures
from ctan_networks.radiotherapy.dicom.write_seg import ANATOMY
from ctan_networks.radiotherapy.results import export_dicom
from ctan_networks.radiotherapy.transforms.export_dicom import ExportDICOMd
from ctan_networks.tools.commands import export_dicom as command

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def patient(tmp_path_factory) -> Path:
    return Path(prostate_cohort(tmp_path_factory.mktemp("cohort"), patients=1)) / "P001"


@pytest.fixture(scope="module")
def results(patient):
    """Masks and dose on the CT's grid that have no symmetry."""
    shape = read_ct(scan_folder(patient)).shape
    masks = {name: np.zeros(shape, bool) for name in ("Bladder", "PTV", "Nothing")}
    masks["Bladder"][20:45, 10:30, 5:20] = True
    masks["Bladder"][30:40, 15:25, 8:12] = False
    masks["PTV"][50:60, 30:50, 22:30] = True
    dose = np.zeros(shape, np.float32)
    dose[50:60, 30:50, 22:30] = 74.3
    dose += np.linspace(0, 5, shape[0], dtype=np.float32)[:, None, None]
    return masks, dose


def test_everything_refers_to_the_input_and_comes_back(patient, results, tmp_path):
    masks, dose = results
    written = export_dicom(patient, tmp_path, masks=masks, dose=dose)
    assert set(written) == {"RTSTRUCT", "SEG", "RTDOSE", "RTPLAN"}
    own = read_treatment_plan(scan_folder(patient))
    structures, dose_file = pydicom.dcmread(written["RTSTRUCT"]), pydicom.dcmread(written["RTDOSE"])
    # The folder has an own plan, which somebody may have approved.
    (referenced,) = dose_file.ReferencedRTPlanSequence
    plan = pydicom.dcmread(written["RTPLAN"])
    assert referenced.ReferencedSOPInstanceUID == plan.SOPInstanceUID != own.plan[1].SOPInstanceUID
    assert plan.ApprovalStatus == "UNAPPROVED" and plan.StudyInstanceUID == own.ct.headers[0].StudyInstanceUID
    first = own.ct.headers[0]
    for data in (structures, dose_file, pydicom.dcmread(written["SEG"])):
        assert data.StudyInstanceUID == first.StudyInstanceUID
        assert data.FrameOfReferenceUID == first.FrameOfReferenceUID
        assert data.PatientID == first.PatientID
        assert data.SeriesInstanceUID != first.SeriesInstanceUID
        assert data.SeriesDescription.startswith("RESEARCH ONLY")
    rois = {s.name: s for s in read_structures(written["RTSTRUCT"])}
    for name, mask in masks.items():
        assert np.array_equal(rasterise(rois[name].contours, own.ct.affine, own.ct.shape), mask)
    assert np.allclose(resample_dose(read_dose(written["RTDOSE"]), own.ct.affine, own.ct.shape), dose, atol=1e-4)


def test_results_and_their_ct_make_up_a_patient_again(patient, results, tmp_path):
    """Another reader of DICOM-RT folders, ours, takes CT and results for one treatment plan."""
    masks, dose = results
    image = nib.Nifti1Image(np.zeros(dose.shape, np.int16), LPS_TO_RAS @ read_ct(scan_folder(patient)).affine)
    nib.save(image, tmp_path / "ct.nii.gz")
    # A volume's indices may run in other directions than those of the series that is made from it.
    written = export_dicom(tmp_path / "ct.nii.gz", tmp_path / "out", masks=masks, dose=dose, prescription=74.0)
    assert set(written) == {"RTSTRUCT", "SEG", "RTDOSE", "RTPLAN"}
    plan = read_treatment_plan(scan_folder(tmp_path / "out"))
    assert plan.prescription == 74.0 and len(plan.ct.files) == dose.shape[2]
    assert plan.ct.headers[0].PatientID == "ANONYMOUS"
    assert "RESEARCH ONLY" in plan.ct.headers[0].SeriesDescription


def test_highdicom_reads_the_segmentation(patient, results, tmp_path):
    hd = pytest.importorskip("highdicom")
    masks, _ = results
    written = export_dicom(patient, tmp_path, masks=masks)
    seg = hd.seg.segread(written["SEG"])
    assert [s.SegmentLabel for s in seg.SegmentSequence] == ["Bladder", "PTV"]
    series = read_ct(scan_folder(patient))
    uids = [str(h.SOPInstanceUID) for h in series.headers]
    pixels = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    assert np.array_equal(pixels[..., 0].transpose(2, 1, 0) > 0, masks["Bladder"])
    assert np.array_equal(pixels[..., 1].transpose(2, 1, 0) > 0, masks["PTV"])


def test_codes_of_the_structures_are_those_of_pydicoms_dictionary():
    names = {"bladder": "Bladder", "rectum": "Rectum", "prostate": "Prostate", "spinalcord": "SpinalCord"}
    names |= {"parotid": "ParotidGland", "esophagus": "Esophagus", "larynx": "Larynx", "mandible": "Mandible"}
    compared = 0
    for words, code in ANATOMY:
        known = names.get(words[0])
        if known and hasattr(codes.SCT, known):
            assert getattr(codes.SCT, known).value == code.value, words
            compared += 1
    assert compared >= 6


@pytest.mark.parametrize("axes", ["RAS", "PLI", "LPS"])
def test_the_transform_takes_any_orientation(patient, results, tmp_path, axes):
    masks, dose = results
    series = read_ct(scan_folder(patient))

    def turned(array):
        image = nib.Nifti1Image(array.astype(np.float32), LPS_TO_RAS @ series.affine)
        target = nib.orientations.axcodes2ornt(axes)
        image = image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(image.affine), target))
        return image.get_fdata(), image.affine

    channels = [turned(mask) for mask in masks.values()]
    case = {
        "case": "P1",
        "image": MetaTensor(torch.zeros(1, 2, 2, 2), meta={"filename_or_obj": str(patient)}),
        "predicted_segmentation": MetaTensor(torch.tensor(np.stack([c for c, _ in channels])), affine=channels[0][1]),
        "predicted_dose": MetaTensor(torch.tensor(turned(dose)[0])[None], affine=channels[0][1]),
    }
    ExportDICOMd(list(masks), tmp_path / "off")(case)
    assert not (tmp_path / "off").exists()
    ExportDICOMd(list(masks), tmp_path, enabled=True, seg=False)(case)
    folder = tmp_path / "P1" / "dicom"
    assert sorted(p.name for p in folder.iterdir()) == ["RTDOSE.dcm", "RTPLAN.dcm", "RTSTRUCT.dcm"]
    rois = {s.name: s for s in read_structures(folder / "RTSTRUCT.dcm")}
    assert np.array_equal(rasterise(rois["Bladder"].contours, series.affine, series.shape), masks["Bladder"])
    assert np.allclose(resample_dose(read_dose(folder / "RTDOSE.dcm"), series.affine, series.shape), dose, atol=1e-3)


def test_the_command(patient, results, tmp_path):
    masks, dose = results
    affine = LPS_TO_RAS @ read_ct(scan_folder(patient)).affine
    case = tmp_path / "P001"
    case.mkdir()
    nib.save(
        nib.Nifti1Image(np.stack([m.astype(np.uint8) for m in masks.values()], -1), affine),
        case / "P001_structures.nii.gz",
    )
    nib.save(nib.Nifti1Image(dose, affine), case / "P001_dose.nii.gz")
    written = command(str(patient), str(case), str(tmp_path / "out"), structures="Bladder,PTV,Nothing", seg=False)
    assert set(written) == {"RTSTRUCT", "RTDOSE", "RTPLAN"}
    series = read_ct(scan_folder(patient))
    assert np.allclose(read_dose(Path(written["RTDOSE"])).dose, dose, atol=1e-4)
    rois = {s.name: s for s in read_structures(Path(written["RTSTRUCT"]))}
    assert np.array_equal(rasterise(rois["PTV"].contours, series.affine, series.shape), masks["PTV"])
    with pytest.raises(ConfigError, match="3 structures: give as many names"):
        command(str(patient), str(case), str(tmp_path / "out"))
    with pytest.raises(DataError, match="given: 2"):
        command(str(patient), str(case), str(tmp_path / "out"), structures="Bladder,PTV")
    with pytest.raises(DataError, match="holds neither"):
        command(str(patient), str(tmp_path / "nowhere"), str(tmp_path / "out"))


def test_nothing_to_export(patient, tmp_path):
    with pytest.raises(DataError, match="nothing to export"):
        export_dicom(patient, tmp_path)
