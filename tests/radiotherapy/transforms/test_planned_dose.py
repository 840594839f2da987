# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.radiotherapy import PlannedDosed
from ctan_networks.radiotherapy.dicom.rtdose import DoseGrid, resample_dose

SHAPE = (12, 10, 8)
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
NAMES = ["Bladder", "PTV56", "PTV70"]


def case(dose: float = 70.0, prescription: float | None = 70.0, **more) -> dict:
    bits = torch.zeros(1, *SHAPE, dtype=torch.int16)
    bits[0, 1:5, 2:8, 1:7] += 1
    bits[0, 3:9, 3:7, 3:6] += 4
    volume = torch.full((1, *SHAPE), 10.0)
    volume[0, 3:9, 3:7, 3:6] = dose
    d = {
        "case": "A",
        "image": MetaTensor(torch.zeros(1, *SHAPE), affine=torch.tensor(AFFINE)),
        "segmentation": MetaTensor(bits, affine=torch.tensor(AFFINE)),
        "dose": MetaTensor(volume, affine=torch.tensor(AFFINE)),
    }
    return d | ({} if prescription is None else {"prescription": prescription}) | more


def placed(dose: MetaTensor, low: int, high: int) -> MetaTensor:
    """Some slices of a dose, on a grid of their own."""
    affine = AFFINE.copy()
    affine[2, 3] = 3 * low
    return MetaTensor(dose.as_tensor()[..., low:high], affine=torch.tensor(affine))


CHECK = PlannedDosed("dose", "image", NAMES)


def test_a_dose_that_fits_stays_as_it_is():
    d = case()
    out = CHECK(d)["dose"]
    assert torch.equal(out.as_tensor(), d["dose"].as_tensor())
    assert "dose" not in PlannedDosed("dose", "image", NAMES, allow_missing_keys=True)({"image": d["image"]})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (case(35.0), "prescription is 70 Gy, and the median dose of PTV70 is 35.0 Gy"),
        (case(7000.0), "cGy"),
        (case(prescription=2.0), "that of a fraction"),
        (case(prescription=None) | {"dose": case()["dose"] * 0}, "no dose in it"),
        (case() | {"dose": case()["dose"] / 70}, "relative"),
        (case() | {"dose": case()["dose"] - 20}, "no dose is negative"),
    ],
)
def test_a_dose_that_is_not_what_was_prescribed(change, words):
    with pytest.raises(DataError, match=f"case A: dose.*{words}"):
        CHECK(change)


def test_structures_of_every_form():
    """A bit field, a label map, and a mask a structure with unknown ones."""
    bits = case()["segmentation"].as_tensor()[0]
    masks = torch.stack([torch.full(SHAPE, torch.nan), torch.zeros(SHAPE), ((bits >> 2) & 1).float()])
    for structures in (masks, (masks[2:] * 3).to(torch.uint8)):
        label_map = len(structures) == 1
        CHECK(case(segmentation=structures, label_map=label_map))
        with pytest.raises(DataError, match="PTV70 is 35.0 Gy"):
            CHECK(case(35.0, segmentation=structures, label_map=label_map))


def test_doses_of_targets_stand_in_for_a_prescription():
    check = PlannedDosed("dose", "image", NAMES, targets={"PTV56": 56.0, "PTV70": 70.0})
    check(case(prescription=None))
    check(case(50.0, prescription=50.0))
    with pytest.raises(DataError, match="prescription is 70 Gy"):
        check(case(50.0, prescription=None))
    # Without any there is nothing to compare with.
    CHECK(case(50.0, prescription=None))
    with pytest.raises(ConfigError, match="PTV63"):
        PlannedDosed("dose", "image", NAMES, targets={"PTV63": 63.0})


def test_outside_of_the_grid_the_dose_is_unknown():
    d = case()
    d["dose"] = placed(d["dose"], 2, 7)
    out = CHECK(d)["dose"].as_tensor()[0]
    assert out.shape == SHAPE and out[..., [0, 1, 7]].isnan().all()
    assert torch.allclose(out[..., 2:7], case()["dose"].as_tensor()[0, ..., 2:7], atol=1e-4)
    d["dose"] = placed(case()["dose"], 4, 8)
    with pytest.raises(DataError, match="33 % of PTV70 lie outside of the dose grid"):
        CHECK(d)


def test_on_a_turned_finer_grid_as_the_reader_of_dicom_has_it():
    """Against the package's other resampling, which knows LPS and NumPy alone."""
    rng = np.random.default_rng(0)
    dose = rng.random((7, 6, 5)).astype(np.float32) * 70
    affine = np.array([[0, 4.0, 0, 2], [-5.0, 0, 0, 27], [0, 0, 6.0, 1], [0, 0, 0, 1]])
    d = {"image": case()["image"], "dose": MetaTensor(torch.tensor(dose)[None], affine=torch.tensor(affine))}
    out = CHECK(d)["dose"].as_tensor()[0].numpy()
    expected = resample_dose(DoseGrid(dose, affine, np.arange(5) * 6.0, ""), AFFINE, SHAPE, outside=np.nan)
    assert 0 < np.isnan(expected).mean() < 1
    assert np.array_equal(np.isnan(out), np.isnan(expected))
    assert np.allclose(out, expected, atol=1e-3, equal_nan=True)
