# SPDX-License-Identifier: Apache-2.0
"""Stored values of CT slices in HU, with padding as scanners write it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.ct_pixels import in_hounsfield_units

FILE = Path("slice")


def header(signed: bool = False, **values: object) -> Dataset:
    data = Dataset()
    data.BitsAllocated, data.PixelRepresentation = 16, int(signed)
    data.RescaleSlope, data.RescaleIntercept = 1, 0 if signed else -1024
    for name, value in values.items():
        if name.startswith("PixelPadding"):
            value, vr = value if isinstance(value, tuple) else (value, "SS" if signed else "US")
            data.add_new(name, vr, value)
        else:
            setattr(data, name, value)
    return data


def picture(signed: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Stored values of a body of water in air, its HU, and where corners are outside of the circle that is imaged."""
    y, x = np.mgrid[:32, :32] - 15.5
    hu = np.where(np.hypot(x, y) < 9, 0.0, -1000.0)
    return (hu + (0 if signed else 1024)).astype(np.int16 if signed else np.uint16), hu, np.hypot(x, y) > 16


@pytest.mark.parametrize(
    ("signed", "low", "high", "stated"),
    [
        (False, 63536, 63536, {"PixelPaddingValue": 63536}),
        (False, 0, 0, {"PixelPaddingValue": 0}),
        (False, 60000, 65535, {"PixelPaddingValue": 60000, "PixelPaddingRangeLimit": 65535}),
        (False, 60000, 65535, {"PixelPaddingValue": 65535, "PixelPaddingRangeLimit": 60000}),
        (False, 63536, 63536, {"PixelPaddingValue": (-2000, "SS")}),
        (True, -2000, -2000, {"PixelPaddingValue": -2000}),
        (True, -2000, -2000, {"PixelPaddingValue": (63536, "US")}),
        (True, 32767, 32767, {"PixelPaddingValue": 32767}),
        (True, -32768, -2001, {"PixelPaddingValue": -32768, "PixelPaddingRangeLimit": -2001}),
        # A value that is also that of water: padding is at the edge of the image.
        (True, 0, 0, {"PixelPaddingValue": 0}),
    ],
)
def test_padding_is_air(signed, low, high, stated):
    stored, hu, outside = picture(signed)
    rng = np.random.default_rng(0)
    stored[outside] = rng.integers(low, high, outside.sum(), endpoint=True)
    found = in_hounsfield_units(FILE, header(signed, **stated), stored)
    np.testing.assert_array_equal(found, np.where(outside, -1024, hu))


def test_slope_and_intercept_are_needed():
    for name in ("RescaleSlope", "RescaleIntercept"):
        data = header()
        del data[name]
        with pytest.raises(DataError, match=f"slice: the CT slice has no {name}"):
            in_hounsfield_units(FILE, data, picture(False)[0])
    with pytest.raises(DataError, match="make no HU"):
        in_hounsfield_units(FILE, header(RescaleSlope=0), picture(False)[0])
    np.testing.assert_allclose(
        in_hounsfield_units(FILE, header(RescaleSlope=0.5), np.full((2, 2), 100, np.uint16)), -974
    )


def test_maps_computed_of_a_ct_are_refused():
    stored = picture(False)[0]
    for kind in ("MGML", "Z_EFF", "ED", "EDW", "PCT"):
        with pytest.raises(DataError, match=f"'{kind}', and not in HU"):
            in_hounsfield_units(FILE, header(RescaleType=kind), stored)
    for kind in ("HU", "US", "HU_MOD", ""):
        in_hounsfield_units(FILE, header(RescaleType=kind), stored)
    with pytest.raises(DataError, match="Modality LUT"):
        in_hounsfield_units(FILE, header(ModalityLUTSequence=[Dataset()]), stored)
