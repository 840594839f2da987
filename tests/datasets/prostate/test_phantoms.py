# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from scipy import ndimage
from scipy.interpolate import RegularGridInterpolator

from ctan_networks.data.phantom_marker import is_phantom
from ctan_networks.datasets.prostate.pelvis import make_pelvis
from ctan_networks.datasets.prostate.phantoms import prostate_cohort
from ctan_networks.errors import ConfigError, DataError
from ctan_networks.radiotherapy.dicom.patient_folder import read_treatment_plan, scan_folder
from ctan_networks.radiotherapy.dicom.rtstruct import read_structures
from ctan_networks.utils import derive_seed


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return Path(prostate_cohort(tmp_path_factory.mktemp("cohort"), patients=5))


def digest(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()
    }


def test_the_same_arguments_give_the_same_bytes(cohort, tmp_path):
    again, first = digest(Path(prostate_cohort(tmp_path, patients=2))), digest(cohort)
    assert {k: v for k, v in again.items() if k != "PHANTOM.json"} == {
        k: v for k, v in first.items() if k.startswith(("P001", "P002"))
    }
    other = digest(Path(prostate_cohort(tmp_path / "other", patients=1, seed=1)))
    assert not set(other.values()) & set(digest(cohort).values()) - {other.get("PHANTOM.json")}


def test_it_is_marked_and_never_written_over_patients(cohort, tmp_path):
    assert is_phantom([{"image": str(cohort / "P001")}])
    (tmp_path / "prostate" / "P001").mkdir(parents=True)
    with pytest.raises(DataError, match="not overwritten"):
        prostate_cohort(tmp_path)
    with pytest.raises(ConfigError, match="1 to 999"):
        prostate_cohort(tmp_path, patients=0)


def test_every_patient_is_a_whole_plan_of_objects_that_refer_to_each_other(cohort):
    layouts = set()
    for folder in sorted(p for p in cohort.iterdir() if p.is_dir()):
        objects = scan_folder(folder)
        plan = read_treatment_plan(objects)
        assert plan.prescription in (60, 70, 74, 78)
        assert str(plan.plan[1].ReferencedStructureSetSequence[0].ReferencedSOPInstanceUID) == str(
            plan.structure_set[1].SOPInstanceUID
        )
        assert all(
            d.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID == plan.plan[1].SOPInstanceUID for _, d in plan.doses
        )
        names = {s.name for s in read_structures(*plan.structure_set)}
        assert "optBladder" in names and any(name.lower().startswith("ptv") for name in names)
        assert all("PHANTOM" in pydicom.dcmread(f).SeriesDescription for f in (*objects.doses, *objects.plans))
        layouts.add((objects.plans[0].parent.name == folder.name, objects.plans[0].suffix))
    assert len(layouts) > 1


def patients_by_pydicom(cohort: Path) -> dict[str, dict[str, list[pydicom.Dataset]]]:
    """Patient to modality to objects, by pydicom alone."""
    found: dict[str, dict[str, list[pydicom.Dataset]]] = {}
    for file in (p for p in sorted(cohort.glob("P[0-9]*/**/*")) if p.is_file()):
        data = pydicom.dcmread(file)
        found.setdefault(file.relative_to(cohort).parts[0], {}).setdefault(data.Modality, []).append(data)
    return found


def contour_points(structures: pydicom.Dataset) -> dict[str, np.ndarray]:
    """ROI name to the points of all its contours, LPS in mm ``[P, 3]``."""
    names = {roi.ROINumber: roi.ROIName for roi in structures.StructureSetROISequence}
    return {
        names[roi.ReferencedROINumber]: np.reshape(
            [v for contour in roi.get("ContourSequence", []) for v in contour.ContourData], (-1, 3)
        ).astype(float)
        for roi in structures.ROIContourSequence
    }


def test_uids_are_unique_and_every_reference_leads_to_the_patients_own_objects(cohort):
    seen = []
    for objects in patients_by_pydicom(cohort).values():
        (structures,), (plan,), slices = objects["RTSTRUCT"], objects["RTPLAN"], objects["CT"]
        everything = [data for group in objects.values() for data in group]
        seen += [data.SOPInstanceUID for data in everything]
        assert len({(d.PatientID, d.StudyInstanceUID) for d in everything}) == 1
        assert {d.FrameOfReferenceUID for d in (*slices, *objects["RTDOSE"], plan)} == {slices[0].FrameOfReferenceUID}
        frame = structures.ReferencedFrameOfReferenceSequence[0]
        series = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
        assert frame.FrameOfReferenceUID == slices[0].FrameOfReferenceUID
        assert {series.SeriesInstanceUID} == {d.SeriesInstanceUID for d in slices}
        height = {d.SOPInstanceUID: float(d.ImagePositionPatient[2]) for d in slices}
        assert {image.ReferencedSOPInstanceUID for image in series.ContourImageSequence} == set(height)
        for roi in structures.ROIContourSequence:
            for contour in roi.get("ContourSequence", []):
                there = height[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
                assert np.allclose(np.array(contour.ContourData, float)[2::3], there, atol=1e-3)
    assert len(seen) == len(set(seen))


def test_contours_lie_where_their_names_say(cohort):
    heads = 0
    for case, objects in patients_by_pydicom(cohort).items():
        (structures,) = objects["RTSTRUCT"]
        points = contour_points(structures)
        (target,) = (p for name, p in points.items() if name.lower().startswith("ptv"))
        for name in (n for n in points if n.lower().startswith("fem")):
            heads += 1
            # In DICOM x grows to the patient's left.
            side = 1 if name.lower().endswith(("l", "lt")) else -1
            centre = points[name].mean(axis=0)
            assert 50 < side * (centre[0] - target[:, 0].mean()) < 130, (case, name)
            # The pixel there, by the standard's formula (PS3.3 C.7.6.2.1.1), is bone.
            image = min(objects["CT"], key=lambda d: abs(float(d.ImagePositionPatient[2]) - centre[2]))
            column, row = (centre[:2] - np.array(image.ImagePositionPatient[:2], float)) / float(image.PixelSpacing[0])
            pixel = image.pixel_array[round(row), round(column)]
            assert float(image.RescaleSlope) * pixel + float(image.RescaleIntercept) > 400, (case, name)
        assert not points["Dose 95%"].size and "EXTERNAL" in {
            o.RTROIInterpretedType for o in structures.RTROIObservationsSequence
        }
    assert 5 < heads < 10, "some head, and not all, has no contour"


def test_doses_of_the_files_sum_to_the_plan(cohort):
    """Interpolated another way, at places computed from the headers."""
    kinds = set()
    for case, objects in patients_by_pydicom(cohort).items():
        pelvis = make_pelvis(np.random.default_rng(derive_seed("prostate", 0, case)))
        doses = objects["RTDOSE"]
        kinds |= {(len(doses) > 1, d.DoseSummationType) for d in doses}
        total = sum(d.pixel_array.astype(float) * float(d.DoseGridScaling) for d in doses)
        x, y, z = (
            float(start) + np.array(steps, float)
            for start, steps in zip(
                doses[0].ImagePositionPatient,
                (
                    np.arange(doses[0].Columns) * doses[0].PixelSpacing[1],
                    np.arange(doses[0].Rows) * doses[0].PixelSpacing[0],
                    doses[0].GridFrameOffsetVector,
                ),
                strict=True,
            )
        )
        axes = [pelvis.affine[a, 3] + pelvis.affine[a, a] * np.arange(n) for a, n in enumerate(pelvis.dose.shape)]
        assert doses[0].PixelSpacing != objects["CT"][0].PixelSpacing, "a grid of its own"
        expected = RegularGridInterpolator(axes, pelvis.dose.astype(float), bounds_error=False, fill_value=None)(
            np.stack(np.meshgrid(z, y, x, indexing="ij")[::-1], axis=-1)
        )
        rounding = sum(float(d.DoseGridScaling) for d in doses) / 2
        np.testing.assert_allclose(total, expected, rtol=0, atol=rounding + 1e-3)
        voxels = np.argwhere(pelvis.structures["PTV"])
        places = pelvis.affine[:3, 3] + voxels * np.diag(pelvis.affine)[:3]
        at_target = RegularGridInterpolator((z, y, x), total)(places[:, ::-1])
        prescription = float(objects["RTPLAN"][0].DoseReferenceSequence[0].TargetPrescriptionDose)
        assert at_target.mean() == pytest.approx(prescription, rel=0.02)
    assert kinds == {(False, "PLAN"), (True, "BEAM")}


@pytest.mark.parametrize("seed", range(4))
def test_anatomy_and_dose_make_sense(seed):
    pelvis = make_pelvis(np.random.default_rng(seed))
    s, hu, dose = pelvis.structures, pelvis.hu, pelvis.dose

    def centre(name: str) -> np.ndarray:
        """LPS, in mm."""
        return (pelvis.affine @ [*np.array(np.nonzero(s[name])).mean(1), 1])[:3]

    # x grows to the patient's left, y to posterior, z to superior.
    assert centre("FemoralHeadLeft")[0] > centre("PTV")[0] > centre("FemoralHeadRight")[0]
    assert centre("Rectum")[1] > centre("PTV")[1]
    assert centre("Bladder")[2] > centre("CTV")[2]
    assert hu[s["FemoralHeadLeft"]].mean() > 400 > 60 > hu[s["CTV"]].mean() > hu[s["Bladder"] & ~s["PTV"]].mean() + 15
    rim = s["Body"] & ~ndimage.binary_erosion(s["Body"], structure=np.ones((3, 3, 1)), iterations=3)
    assert -120 < np.median(hu[rim]) < -60, "fat under the skin"
    assert -10 < np.median(hu[s["Bladder"] & ~s["PTV"]]) < 25 and (hu[~s["Body"] & ~s["Couch"]] < -900).all()
    volumes = {name: mask.sum() * abs(np.linalg.det(pelvis.affine[:3, :3])) / 1000 for name, mask in s.items()}
    assert 30 < volumes["Bladder"] < 400 and 30 < volumes["Rectum"] < 150 and 60 < volumes["PTV"] < 200
    assert (s["PTV"] >= s["CTV"]).all() and not (s["Bladder"] & s["Rectum"]).any()
    assert dose[s["PTV"]].mean() == pytest.approx(pelvis.prescription, rel=0.02)
    assert np.percentile(dose[s["PTV"]], 5) > 0.95 * pelvis.prescription
    assert dose[s["Rectum"] & ~s["PTV"]].mean() < 0.5 * pelvis.prescription
    assert not dose[~s["Body"]].any() and np.allclose(np.sum(pelvis.beams, axis=0), dose)
    assert len(pelvis.beams) == 7 and min(beam.max() for beam in pelvis.beams) > 0
