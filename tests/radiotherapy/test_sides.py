# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from ctan_networks.datasets.openkbp.phantoms import openkbp_cohort
from ctan_networks.datasets.openkbp.reader import OpenKBPReader
from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.sides import body_middles, check_sides, side_of


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("LeftParotid", ("left", "parotid")),
        ("FemoralHeadRight", ("right", "femoral head")),
        ("Lung_L", ("left", "lung")),
        ("Kidney R", ("right", "kidney")),
        ("kidney_right", ("right", "kidney")),
        ("Bladder", None),
        ("PTV70", None),
        ("Vertebra_L5", None),
        ("Larynx", None),
        ("Rectum", None),
    ],
)
def test_the_side_that_a_name_says(name, said):
    assert side_of(name) == said


def test_partners_that_are_not_partners():
    centres = {"Kidney_L": np.array([-50.0, 0, 0]), "Lung_R": np.array([0.0, 0, 0])}
    check_sides(centres, lambda name: None)
    with pytest.raises(DataError, match="Kidney_L lies 50 mm to the patient's right of the body's middle"):
        check_sides(centres, lambda name: 0.0)


def test_the_middle_of_a_body_that_is_not_in_the_middle_of_the_image():
    hu = np.full((20, 10, 3), -1000.0)
    hu[2:9, 3:6, 0] = hu[10:15, 3:6, 2] = 0
    found = body_middles(hu, np.diag([2.0, 2.0, 3.0, 1.0]))
    assert found[0].tolist() == [10.0, 8.0, 0.0] and found[2].tolist() == [24.0, 8.0, 6.0]
    assert np.isnan(found[1, :2]).all()


def test_openkbp_patients(tmp_path):
    folder = Path(openkbp_cohort(tmp_path, train=1, validation=1)) / "train-pats" / "pt_1"
    reader = OpenKBPReader()
    reader.get_data(folder)
    wrong = Path(shutil.copytree(folder, tmp_path / "wrong"))
    shutil.copy(folder / "RightParotid.csv", wrong / "LeftParotid.csv")
    shutil.copy(folder / "LeftParotid.csv", wrong / "RightParotid.csv")
    with pytest.raises(DataError, match="wrong: LeftParotid does not lie to the patient's left of RightParotid"):
        reader.get_data(wrong)
    (wrong / "RightParotid.csv").unlink()
    with pytest.raises(DataError, match="wrong: LeftParotid lies .* mm to the patient's right of the body's middle"):
        reader.get_data(wrong)
