# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.radiotherapy.dicom.roi_names import complete_patterns, match_rois, unused_targets


@pytest.fixture
def patterns(bundles):
    return json.loads((bundles / "prostate_ctan" / "configs" / "train.json").read_text())["usual_roi_patterns"]


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


def test_a_name_as_it_stands_in_the_structure_set_is_a_pattern():
    rois = ["PTV_7000", "PTV 70 (final", "PTV+5mm", "PTV"]
    for name in rois:
        assert match_rois(rois, {"PTV": [name]})[0] == {"PTV": name}
    assert match_rois(rois, {"PTV": ["ptv 70.00"]})[0] == {"PTV": "PTV_7000"}
    with pytest.raises(ConfigError, match="no ROI's name and no regular expression"):
        match_rois(rois, {"PTV": ["PTV 60 (final"]})


def test_ones_own_patterns_leave_those_of_the_other_structures(patterns):
    own = complete_patterns(patterns, {"PTV": ["Boost 2"], "Rectum": "my rectum"})
    assert own == patterns | {"PTV": ["Boost 2"], "Rectum": ["my rectum"]}
    assert match_rois(["boost2", "Blase", "My Rectum", "Enddarm"], own)[0] == {
        "Bladder": "Blase", "PTV": "boost2", "Rectum": "My Rectum",
    }  # fmt: skip
    assert complete_patterns(patterns) == complete_patterns(patterns, {}) == patterns
    assert complete_patterns(patterns, {"Nodes": ["n"]}, structures=["Nodes"])["Nodes"] == ["n"]


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"ptv": ["x"]}, "there is no structure ptv. The structures are Bladder, Rectum"),
        ({"PTV": []}, r"""the patterns of PTV must be text, got \[\]. .* --roi_patterns "{'PTV': \['my name"""),
        ({"PTV": [70]}, "the patterns of PTV must be text"),
        ("PTV_70", "must name structures and their patterns, got 'PTV_70'"),
        (["PTV_70"], "must name structures and their patterns"),
    ],
)
def test_patterns_that_are_none(patterns, own, said):
    with pytest.raises(ConfigError, match=said):
        complete_patterns(patterns, own)


def test_rois_that_look_like_a_missing_target():
    said = unused_targets(["PTV63", "PTV70"], ["BODY", "PTV_60", "Cord"])
    assert "PTV63 or PTV70" in said and ": PTV_60. " in said and """--roi_patterns "{'PTV70': ['PTV_60']}\"""" in said
    assert unused_targets([], ["PTV_60"]) == unused_targets(["PTV70"], ["Cord"]) == ""


def test_one_roi_for_two_structures():
    with pytest.raises(DataError, match="the ROI PTV fits two structures, Low and High. Name the ROI of each"):
        match_rois(["PTV"], {"Low": ["ptv.*"], "High": ["ptv"]})
