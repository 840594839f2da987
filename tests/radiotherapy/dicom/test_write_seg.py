# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import sys

import numpy as np
import pytest
from pydicom.sr import _concepts_dict

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.radiotherapy.dicom.ct_series import CTSeries
from ctan_networks.radiotherapy.dicom.write_ct import write_ct_series
from ctan_networks.radiotherapy.dicom.write_seg import ANATOMY, SIDES, TARGETS, write_seg

SHAPE = (18, 15, 6)


@pytest.fixture(scope="module", params=["HFS", "HFP", "FFS"])
def ct(request, tmp_path_factory):
    x, y = {"HFS": (1, 1), "HFP": (-1, -1), "FFS": (-1, 1)}[request.param]
    affine = np.diag([1.7 * x, 2.3 * y, 3.0 * x * y, 1.0])
    affine[:3, 3] = [-51.123456, -203.5, -412.75]
    return write_ct_series(tmp_path_factory.mktemp("ct"), np.zeros(SHAPE), affine, name="A^B", patient_id="1")


def masks_of(*names: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.random(SHAPE) > 0.7 for name in names}


def test_highdicom_reads_the_same_masks_in_every_position(ct, tmp_path):
    hd = pytest.importorskip("highdicom")
    masks = masks_of("Bladder", "PTV_7800")
    write_seg(tmp_path / "seg.dcm", masks, ct)
    seg = hd.seg.segread(tmp_path / "seg.dcm")
    pixels = seg.get_pixels_by_source_instance([str(h.SOPInstanceUID) for h in ct.headers])
    for number, mask in enumerate(masks.values()):
        assert np.array_equal(pixels[..., number].transpose(2, 1, 0) > 0, mask)


def test_names_get_the_codes_that_they_mean(tmp_path, ct):
    hd = pytest.importorskip("highdicom")
    expected = {
        "Bladder": ("89837001", None),
        "Gallbladder": ("85756007", None),
        "Bladder wall": ("85756007", None),
        "FemoralHeadLeft": ("2812003", "Left"),
        "Femoral_Head_R": ("2812003", "Right"),
        "LeftParotid": ("45289007", "Left"),
        "Brainstem": ("119238007", None),
        "PTV70": ("228793007", None),
        "CTV": ("228792002", None),
        "GTV_L": ("228791009", None),
        "Something": ("85756007", None),
    }
    write_seg(tmp_path / "seg.dcm", masks_of(*expected), ct)
    seg = hd.seg.segread(tmp_path / "seg.dcm")
    for segment in seg.SegmentSequence:
        kind = segment.SegmentedPropertyTypeCodeSequence[0]
        side = kind.get("SegmentedPropertyTypeModifierCodeSequence")
        assert (kind.CodeValue, side and side[0].CodeMeaning) == expected[segment.SegmentLabel], segment.SegmentLabel
        assert segment.SegmentAlgorithmType == "AUTOMATIC"


def test_every_code_is_in_a_context_group_of_the_standard():
    """Codes that pydicom took from PS3.16, with the numbers of the context groups (CID) that hold them."""
    known = {code for values in _concepts_dict.concepts["SCT"].values() for code, (_, cids) in values.items() if cids}
    for code in [code for _, code in ANATOMY] + [*TARGETS.values(), *SIDES.values()]:
        assert code.value in known, code


def test_the_input_is_left_as_it_was_and_gaps_are_filled(ct, tmp_path):
    hd = pytest.importorskip("highdicom")
    headers = tuple(copy.deepcopy(header) for header in ct.headers)
    for header in headers:
        del header.AccessionNumber, header.StudyID, header.FrameOfReferenceUID
    before = [header.to_json() for header in headers]
    write_seg(tmp_path / "seg.dcm", masks_of("Bladder"), CTSeries(ct.files, headers, ct.affine, ct.shape))
    assert [header.to_json() for header in headers] == before
    assert hd.seg.segread(tmp_path / "seg.dcm").FrameOfReferenceUID


def test_uids_follow_the_root(ct, tmp_path):
    hd = pytest.importorskip("highdicom")
    for name in ("a", "b"):
        write_seg(tmp_path / name, masks_of("Bladder", "PTV"), ct, uid_root="x")
    a, b = hd.seg.segread(tmp_path / "a"), hd.seg.segread(tmp_path / "b")
    assert a.SOPInstanceUID == b.SOPInstanceUID
    tracked = [[s.TrackingUID for s in seg.SegmentSequence] for seg in (a, b)]
    assert tracked[0] == tracked[1] and len(set(tracked[0])) == 2


def test_bad_input_is_refused(ct, tmp_path, monkeypatch):
    pytest.importorskip("highdicom")
    with pytest.raises(DataError, match="no structure holds a voxel"):
        write_seg(tmp_path / "s", {"A": np.zeros(SHAPE, bool)}, ct)
    with pytest.raises(DataError, match="'A' is not on the CT's grid"):
        write_seg(tmp_path / "s", {"A": np.ones((2, 2, 2), bool)}, ct)
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(ConfigError, match="pip install"):
        write_seg(tmp_path / "s", masks_of("A"), ct)
    assert not list(tmp_path.iterdir())
