# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from ctan_networks.reports.figures import draw_dvh, draw_history, draw_slices, to_png
from ctan_networks.reports.views import CaseView, make_view

STRUCTURES = ["Cord", "PTV56", "PTV70"]
# Index axes as in OpenKBP: anterior to posterior, right to left, superior to inferior.
AFFINE = np.array([[0.0, -4.0, 0, 0], [-5, 0, 0, 0], [0, 0, -2.5, 0], [0, 0, 0, 1]])


def volumes(**changes) -> dict[str, np.ndarray]:
    ct = np.full((1, 20, 24, 16), -1000.0, np.float32)
    ct[:, 2:18, 2:22, 1:15] = 30
    masks = np.zeros((3, 20, 24, 16), np.float32)
    masks[0, 12:14, 11:13, 2:14] = 1
    masks[1, 4:8, 4:8, 4:8] = 1
    masks[2, 8:12, 14:18, 9:13] = 1
    dose = np.where(ct > 0, 20, 0).astype(np.float32) + 50 * masks[2:]
    everything = {
        "image": ct,
        "reference_segmentation": masks,
        "predicted_segmentation": np.roll(masks, 1, 1),
        "reference_dose": dose,
        "predicted_dose": dose * 0.9,
    }
    return {k: v for k, v in (everything | changes).items() if v is not None}


def panel(figure, row: int, column: int, columns: int = 4):
    return figure.axes[row * columns + column]


def test_a_marker_is_drawn_where_a_clinician_expects_it():
    given = volumes()
    given["image"][0, 9, 3, 10] = 3000  # far right of the patient, at the height of the target's centre
    figure = draw_slices(make_view(given, AFFINE, STRUCTURES), STRUCTURES)
    axial = panel(figure, 0, 0)
    shown = np.asarray(axial.images[0].get_array())
    _, column = np.unravel_index(shown.argmax(), shown.shape)
    assert shown.max() == 3000 and column < shown.shape[1] / 4, "the patient's right is on the left"
    assert {t.get_text() for t in axial.texts} == {"R", "L", "A", "P"}
    left, right, bottom, top = axial.images[0].get_extent()
    assert bottom > top, "row 0 is on top"
    # In millimetres, so that the aspect is that of the patient.
    assert right - left == pytest.approx(shown.shape[1] * 4) and bottom - top == pytest.approx(shown.shape[0] * 5)
    coronal = np.asarray(panel(figure, 1, 0).images[0].get_array())
    extent = panel(figure, 1, 0).images[0].get_extent()
    assert extent[2] - extent[3] == pytest.approx(coronal.shape[0] * 2.5)


def test_planes_go_through_the_target_with_the_highest_dose():
    view = make_view(volumes(), AFFINE, STRUCTURES)
    for plane in ("axial", "coronal", "sagittal"):
        assert view.slices[f"{plane}/reference_segmentation"][2].any()
        assert not view.slices[f"{plane}/reference_segmentation"][1].any()


@pytest.mark.parametrize(
    ("missing", "panels"),
    [
        ((), 12),
        (("reference_segmentation", "predicted_segmentation"), 12),
        (("predicted_segmentation",), 12),
        (("reference_dose",), 6),
        (("reference_dose", "predicted_dose"), 3),
    ],
)
def test_what_a_case_lacks_is_left_out(missing, panels, tmp_path):
    view = make_view(volumes(**dict.fromkeys(missing)), AFFINE, STRUCTURES)
    view.save(tmp_path / "view.npz")
    figure = draw_slices(CaseView.load(tmp_path / "view.npz"), STRUCTURES)
    assert len([axis for axis in figure.axes if axis.images]) == panels
    assert to_png(figure, dpi=30).startswith(b"\x89PNG")


def test_unknown_dose_voxels_do_not_break_a_figure():
    given = volumes()
    given["reference_dose"][0, :4] = np.nan
    view = make_view(given, AFFINE, STRUCTURES)
    assert to_png(draw_slices(view, STRUCTURES), dpi=30) and to_png(draw_dvh(view, STRUCTURES), dpi=30)


def test_dvh_is_solid_for_the_reference_and_dashed_for_the_prediction():
    given = volumes()
    given["reference_segmentation"][1] = np.nan
    axis = draw_dvh(make_view(given, AFFINE, STRUCTURES), STRUCTURES).axes[0]
    assert [line.get_linestyle() for line in axis.lines] == ["-", "--"] * 2, "two known structures"
    assert axis.lines[0].get_color() == axis.lines[1].get_color() != axis.lines[2].get_color()
    x, y = axis.lines[2].get_data()
    assert np.interp(69.5, x, y) == pytest.approx(100) and np.interp(70.5, x, y) == pytest.approx(0)


def test_learning_curves_share_a_panel_for_losses_only(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("epoch,name,value\n1,loss_dose,2\n1,loss_segmentation,1\n2,loss_dose,\n2,mean_dice,0.5\n2,dvh,3\n")
    panels = {axis.get_title(): len(axis.lines) for axis in draw_history(path).axes if axis.get_title()}
    assert panels == {"training loss": 2, "mean_dice": 1, "dvh": 1}
    path.write_text("epoch,name,value\n")
    assert draw_history(path) is None
