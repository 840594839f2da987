# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.radiotherapy.dicom.roi_names import match_rois


@pytest.fixture
def patterns(bundles):
    return json.loads((bundles / "prostate_ctan" / "configs" / "train.json").read_text())["roi_patterns"]


@pytest.mark.parametrize(
    "structure, names",
    [
        ("Bladder", ["Bladder", "BLADDER_O", "blase", "Harnblase", "bladder whole"]),
        ("Rectum", ["Rectum", "rectum_O", "RECTUM", "Enddarm", "Rektum"]),
        (
            "FemoralHeadLeft",
            [
                "Fem_Head_L",
                "FemoralHeadLt",
                "Femoral Head Lt",
                "Femur_L",
                "L Femoral Head",
                "FemHead_Left",
                "LT FEM HEAD",
            ],
        ),
        ("FemoralHeadRight", ["Fem_Head_R", "FemoralHeadRt", "Femoral Head RT", "Femur-R", "Hueftkopf re"]),
        ("PTV", ["PTV", "PTV_7800", "PTV 78", "PTV78Gy", "ptv_60", "PTV_Prostate"]),
    ],
)
def test_names_as_clinics_write_them(patterns, structure, names):
    for name in names:
        assert match_rois(["Skin", name], patterns) == ({structure: name}, ["Skin"])


@pytest.mark.parametrize(
    "name", ["optBladder", "Bladder-PTV", "CTV", "Rectal balloon", "PTV_ring", "Femur", "Penile bulb", "BODY", "ptv_x1"]
)
def test_names_that_are_something_else(patterns, name):
    assert match_rois([name], patterns) == ({}, [name])


def test_the_first_pattern_that_fits_decides(patterns):
    found, unmatched = match_rois(["PTV_6000", "PTV_7800"], patterns)
    assert found == {"PTV": "PTV_7800"}
    assert unmatched == ["PTV_6000"]


def test_two_rois_for_one_pattern_and_bad_patterns_are_named():
    with pytest.raises(DataError, match="Bladder.*2 ROIs: bladder, BLADDER"):
        match_rois(["bladder", "BLADDER"], {"Bladder": ["bladder"]})
    with pytest.raises(ConfigError, match="Rectum.*rec\\("):
        match_rois(["a"], {"Rectum": ["rec("]})
