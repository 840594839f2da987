# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ctan_networks.reports.sections.training import draw_history


def test_learning_curves_share_a_panel_for_losses_only(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("epoch,name,value\n1,loss_dose,2\n1,loss_segmentation,1\n2,loss_dose,\n2,mean_dice,0.5\n2,dvh,3\n")
    panels = {axis.get_title(): len(axis.lines) for axis in draw_history(path).axes if axis.get_title()}
    assert panels == {"training loss": 2, "mean_dice": 1, "dvh": 1}
    path.write_text("epoch,name,value\n")
    assert draw_history(path) is None
