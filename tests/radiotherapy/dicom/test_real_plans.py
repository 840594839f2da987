# SPDX-License-Identifier: Apache-2.0
"""Structures and doses of commercial planning systems against the DVHs that those systems computed.

Wants, below ``CTAN_DATA``: ``dicom_rt/eclipse_prostate_phantom`` and ``dicom_rt/matrad_phantom`` (test data of SlicerRT
and matRad) and ``dicom_rt/breast_eclipse`` (test data of dicompyler).
"""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.convert import convert_patient
from ctan_networks.radiotherapy.dicom.contour_dvh import contour_dvh
from ctan_networks.radiotherapy.dicom.elements import read_dicom
from ctan_networks.radiotherapy.dicom.prescription import prescriptions_of_targets
from ctan_networks.radiotherapy.dicom.rtdose import DoseGrid, read_dose
from ctan_networks.radiotherapy.dicom.rtstruct import read_structures
from ctan_networks.radiotherapy.dicom.stored_dvh import read_stored_dvhs

pytestmark = pytest.mark.realdata

# Mean dose (Gy): Eclipse's table, integrated; SlicerRT.
MEANS = {
    "Bladder": (45.895, 45.907),
    "PTV": (45.880, 45.880),
    "Rectum": (39.113, 39.111),
    "Femoral Head Lt": (25.021, 25.028),
}
# What Eclipse counts of its first and last slice.
ECLIPSE = 0.6


@pytest.fixture(scope="module")
def plans(real_data) -> Path:
    folder = real_data / "dicom_rt"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return folder


@pytest.fixture(scope="module")
def prostate(plans):
    itk = pytest.importorskip("itk")
    folder = plans / "eclipse_prostate_phantom"
    image = itk.imread(str(folder / "EclipseProstate_Dose.nrrd"))
    dose = itk.array_from_image(image).transpose(2, 1, 0).astype(np.float32)
    affine = np.eye(4)
    affine[:3, :3] = itk.array_from_matrix(image.GetDirection()) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    grid = DoseGrid(dose, affine, np.arange(dose.shape[2]) * image.GetSpacing()[2], "")
    structures = {s.name: s for s in read_structures(next(folder.glob("RS*.dcm")))}
    tables = [pd.read_csv(folder / f"EclipseProstate_DvhTable_{system}.csv") for system in ("Eclipse", "CERR")]
    return grid, structures, *tables


def curve(table: pd.DataFrame, name: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Dose (Gy), per cent of the volume, and the volume (cc) that the head of the column states."""
    position = next(k for k, column in enumerate(table) if column.startswith(name.replace(" ", "") + "_"))
    dose, percent = (table.iloc[:, k].to_numpy() for k in (position, position + 1))
    # One row of the table repeats the beginning of the axis.
    ascending = np.concatenate([[True], dose[1:] > np.maximum.accumulate(dose)[:-1]])
    return dose[ascending], percent[ascending], float(table.columns[position + 1].split(" of ")[1].split(" cc")[0])


@pytest.mark.parametrize("name", MEANS)
def test_prostate_agrees_with_eclipse_cerr_and_slicer(prostate, name):
    grid, structures, eclipse, cerr = prostate
    whole, ends = contour_dvh(structures[name], grid), contour_dvh(structures[name], grid, end_slice=ECLIPSE)
    dose, percent, volume = curve(eclipse, name)
    for mean in MEANS[name]:
        assert whole.mean == pytest.approx(mean, rel=3e-3)
    assert whole.total == pytest.approx(volume, rel=0.015)
    assert ends.total == pytest.approx(volume, rel=0.01)
    assert whole.total == pytest.approx(curve(cerr, name)[2], rel=0.01)
    # Within 1.5 % of the volume, or 1 % of the dose, at every point of Eclipse's curve.
    near = np.abs(100 * whole.volume_at(dose) / whole.total - percent) <= 1.5
    low, high = (100 * whole.volume_at(dose * factor) / whole.total for factor in (1.01, 0.99))
    assert (near | ((low <= percent) & (percent <= high))).all()


def test_breast_agrees_with_the_stored_dvhs(plans):
    folder = plans / "breast_eclipse"
    grid = read_dose(folder / "rtdose.dcm")
    structures = {s.number: s for s in read_structures(folder / "rtss.dcm")}
    with pytest.raises(DataError, match="per cent of the prescription"):
        read_stored_dvhs(folder / "rtdose.dcm")
    plan = folder / "rtplan.dcm"
    stored = read_stored_dvhs(folder / "rtdose.dcm", prescription=prescriptions_of_targets(plan, read_dicom(plan))[-1])
    compared = 0
    for dvh in stored:
        structure = structures[dvh.roi_number]
        if dvh.total < 5 or structure.name == "BODY":
            continue
        mine = contour_dvh(structure, grid, end_slice=ECLIPSE)
        assert mine.mean == pytest.approx(dvh.stated_mean, rel=5e-3)
        assert mine.mean == pytest.approx(dvh.mean, rel=5e-3)
        assert mine.total == pytest.approx(dvh.total, rel=0.015)
        compared += 1
    assert compared == 5
    heart = contour_dvh(next(s for s in structures.values() if s.name == "Heart"), grid)
    # As published with the data: 440.231 cc; 0.03, 0.6475 and 3.1 Gy.
    assert heart.total == pytest.approx(440.231, rel=5e-3)
    assert heart.mean == pytest.approx(0.6475, rel=5e-3)
    assert heart.dose[0] == pytest.approx(0.03, abs=0.01) and heart.dose[-1] == pytest.approx(3.1, abs=0.05)
    # BODY reaches beyond the dose grid. Its DVH begins at the centre of its first bin, 0.005 Gy, which a part of it
    # does not receive.
    body = contour_dvh(next(s for s in structures.values() if s.name == "BODY"), grid, 1.25, inside_grid=True)
    assert body.mean == pytest.approx(stored[0].stated_mean, rel=5e-3)
    assert body.volume_at(stored[0].dose[:1])[0] == pytest.approx(stored[0].total, rel=0.015)


def test_matrads_phantom_is_one_case(plans, tmp_path):
    found = convert_patient(
        plans / "matrad_phantom", tmp_path / "case", {"First": ["volume1"], "Second": ["volume2"]}, need_dose=False
    )
    assert found["ct"]["shape"] == [200, 200, 100] and found["unmatched"] == ["Volume3"]
    ct, first, second = (nib.load(tmp_path / "case" / f"{n}.nii.gz").get_fdata() for n in ("ct", "First", "Second"))
    # All of it is water in air, and structures lie in the water.
    assert set(np.unique(ct)) == {-1000, 0} and (ct[(first > 0) | (second > 0)] == 0).all()
    drawn = {s.name: s for s in read_structures(plans / "matrad_phantom" / "RTstruct.dcm")}
    for mask, name in ((first, "Volume1"), (second, "Volume2")):
        # Slices 3 mm apart; the area of each contour by the shoelace formula.
        area = sum(
            abs(np.dot(c[:, 0], np.roll(c[:, 1], 1)) - np.dot(c[:, 1], np.roll(c[:, 0], 1))) / 2
            for c in drawn[name].contours
        )
        assert mask.sum() * 12 == pytest.approx(area * 3, rel=0.02)
