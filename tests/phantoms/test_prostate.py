# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pydicom
import pytest

from ctan_networks.dicom.patient_folder import read_treatment_plan, scan_folder
from ctan_networks.dicom.rtstruct import read_structures
from ctan_networks.errors import ConfigError, DataError
from ctan_networks.phantoms import is_phantom, prostate_cohort
from ctan_networks.phantoms.pelvis import make_pelvis


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return Path(prostate_cohort(tmp_path_factory.mktemp("cohort"), patients=3))


def digest(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()
    }


def test_the_same_arguments_give_the_same_bytes(cohort, tmp_path):
    again = Path(prostate_cohort(tmp_path, patients=3))
    assert digest(again) == digest(cohort)
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
    volumes = {name: mask.sum() * abs(np.linalg.det(pelvis.affine[:3, :3])) / 1000 for name, mask in s.items()}
    assert 30 < volumes["Bladder"] < 400 and 30 < volumes["Rectum"] < 150 and 60 < volumes["PTV"] < 200
    assert (s["PTV"] >= s["CTV"]).all() and not (s["Bladder"] & s["Rectum"]).any()
    assert dose[s["PTV"]].mean() == pytest.approx(pelvis.prescription, rel=0.02)
    assert np.percentile(dose[s["PTV"]], 5) > 0.95 * pelvis.prescription
    assert dose[s["Rectum"] & ~s["PTV"]].mean() < 0.5 * pelvis.prescription
    assert not dose[~s["Body"]].any() and np.allclose(np.sum(pelvis.beams, axis=0), dose)
    assert len(pelvis.beams) == 7 and min(beam.max() for beam in pelvis.beams) > 0
