# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from ctan_networks.reports.views import histograms, slice_plane, to_display

AFFINES = {
    "PLI": [[0, -4, 0], [-4, 0, 0], [0, 0, -2.5]],
    "RAS": [[4, 0, 0], [0, 4, 0], [0, 0, 2.5]],
    "LPS": [[-4, 0, 0], [0, -4, 0], [0, 0, 2.5]],
}


@pytest.mark.parametrize("axcodes", AFFINES)
def test_right_anterior_superior_is_where_a_clinician_expects_it(axcodes):
    affine = np.eye(4)
    affine[:3, :3] = AFFINES[axcodes]
    volume = np.zeros((1, 6, 6, 6))
    # The voxel that lies furthest to the right, front and top, by the affine.
    corners = np.array(list(np.ndindex(2, 2, 2))) * 5
    world = corners @ affine[:3, :3].T
    corner = corners[np.argmax(world @ [1, 1, 1])]
    volume[(0, *corner)] = 1
    shown = to_display(volume, affine)
    # axial: anterior up (row 0), the patient's right on the left (column 0); coronal and sagittal: superior up.
    assert slice_plane(shown, "axial", 0)[0, 0, 0] == 1
    assert slice_plane(shown, "coronal", 0)[0, 0, 0] == 1
    assert slice_plane(shown, "sagittal", 0)[0, 0, 0] == 1


def test_histograms_are_in_percent_of_the_volume():
    dose = np.linspace(0, 70, 1000).reshape(1, 10, 10, 10)
    volumes = {"reference_dose": dose, "reference_segmentation": np.ones((1, 10, 10, 10))}
    edges, curves = histograms(volumes, 1)
    curve = curves["reference_dose"][0]
    assert curve[0] == 100 and curve[-1] == 0
    assert np.interp(35.0, edges, curve) == pytest.approx(50, abs=1)
