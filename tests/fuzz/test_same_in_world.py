# SPDX-License-Identifier: Apache-2.0
"""The same CT stored in another way gives the same prediction, voxel for voxel in the patient's coordinates."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from inference_inputs import TURNS, axis_turn, body
from inference_run import predict

from ctan_networks.datasets.stoic.phantoms import write_mha

# 3.2 and 3.4 mm are kept by both bundles; 6 mm slices are resampled.
AFFINE = np.diag([-3.2, -3.4, 6.0, 1.0])
AFFINE[:3, 3] = [30, 25, -100]
KINDS = ["structures", "labels", "dose"]
BUNDLES = ["prostate_ctan", pytest.param("openkbp_ctan", marks=pytest.mark.slow)]


def patient() -> np.ndarray:
    """HU without any symmetry, whole numbers."""
    hu = body((20, 18, 12), "body", np.random.default_rng(1))
    hu[4:8, 8:14, 2:7] = 900
    hu[12:15, 5:8, 6:11] = -300
    return np.rint(hu)


def stored(file: Path, hu: np.ndarray, affine: np.ndarray = AFFINE, kind: str = "<i2", slope: float = 1.0) -> None:
    header = nib.Nifti1Header(endianness=kind[0] if kind[0] in "<>" else "<")
    header.set_data_dtype(kind)
    image = nib.Nifti1Image((hu / slope).astype(kind), affine, header)
    # As it is, and not scaled by nibabel's choice.
    image.header.set_slope_inter(slope, 0)
    nib.save(image, file)
    np.testing.assert_array_equal(nib.load(file).get_fdata(), hu)


def results(out: Path, name: str) -> dict[str, nib.Nifti1Image]:
    return {kind: nib.load(out / name / f"{name}_{kind}.nii.gz") for kind in KINDS}


@pytest.mark.parametrize("bundle", BUNDLES)
def test_another_type_or_format_is_the_same(tmp_path, bundle):
    pytest.importorskip("itk")
    hu, cases = patient(), tmp_path / "in"
    cases.mkdir()
    stored(cases / "first.nii.gz", hu)
    stored(cases / "plain.nii", hu)
    stored(cases / "single.nii.gz", hu, kind="<f4")
    stored(cases / "double.nii.gz", hu, kind="<f8")
    stored(cases / "big.nii.gz", hu, kind=">i4")
    stored(cases / "scaled.nii.gz", hu, kind="<i4", slope=0.5)
    # MetaImage's coordinates are LPS.
    write_mha(cases / "meta.mha", hu.astype(np.int16), (3.2, 3.4, 6.0), (-30.0, -25.0, -100.0))
    predict(bundle, cases, tmp_path / "out")
    first = results(tmp_path / "out", "first")
    assert first["dose"].get_fdata().max() > 0
    for file in cases.iterdir():
        for kind, image in results(tmp_path / "out", file.name.split(".")[0]).items():
            np.testing.assert_array_equal(image.affine, first[kind].affine, err_msg=f"{file.name} {kind}")
            np.testing.assert_array_equal(image.get_fdata(), first[kind].get_fdata(), err_msg=f"{file.name} {kind}")


@pytest.mark.parametrize("count", [6, pytest.param(48, marks=pytest.mark.slow)])
@pytest.mark.parametrize("bundle", BUNDLES)
def test_axes_in_another_order_or_direction_are_the_same(tmp_path, bundle, count):
    hu, cases = patient(), tmp_path / "in"
    cases.mkdir()
    stored(cases / "first.nii.gz", hu)
    turned = {}
    for k, (order, signs) in enumerate(TURNS[:: len(TURNS) // count]):
        image = nib.Nifti1Image(hu, AFFINE)
        matrix = np.eye(4)
        matrix[:3, :3] = axis_turn(order, signs)
        turn = nib.orientations.io_orientation(matrix)
        image = image.as_reoriented(turn)
        turned[f"turn_{k}"] = turn
        stored(cases / f"turn_{k}.nii.gz", image.get_fdata(), image.affine)
    assert len(turned) == count and len({str(turn.tolist()) for turn in turned.values()}) == count
    predict(bundle, cases, tmp_path / "out")
    first = results(tmp_path / "out", "first")
    for name in turned:
        for kind, image in results(tmp_path / "out", name).items():
            one, two = nib.as_closest_canonical(first[kind]), nib.as_closest_canonical(image)
            np.testing.assert_allclose(two.affine, one.affine, atol=1e-4)
            a, b = one.get_fdata(), two.get_fdata()
            if kind == "dose":
                np.testing.assert_allclose(b, a, atol=1e-3 * a.max())
            else:
                # Where a probability is one half, rounding decides.
                assert np.mean(a != b) < 1e-3, (name, kind)
