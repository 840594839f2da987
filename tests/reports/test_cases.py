# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from ctan_networks.reports.cases import read_case
from ctan_networks.reports.plan import PlanQuestions, plan_rows
from ctan_networks.reports.tables import case_rows
from ctan_networks.reports.views import make_view

STRUCTURES = ["PTV", "Rectum"]
SHAPE = (10, 10, 8)


def test_where_the_reference_dose_is_unknown_nothing_is_compared():
    """A dose grid that ends inside the rectum: its metrics are unknown, those of the target are not."""
    masks = torch.zeros(2, *SHAPE)
    masks[0, 3:7, 3:7, 1:4] = 1
    masks[1, 2:5, 2:5, 2:8] = 1
    reference = torch.full((1, *SHAPE), 20.0)
    reference[0][masks[0] > 0] = 60
    prediction = reference + 1
    reference[..., 5:] = torch.nan
    item = {
        "case": "a",
        "image": MetaTensor(torch.zeros(1, *SHAPE), affine=torch.diag(torch.tensor([3.0, 3.0, 3.0, 1.0]))),
        "reference_segmentation": masks,
        "reference_dose": reference,
        "predicted_dose": prediction,
        "mask": torch.ones(1, *SHAPE),
    }
    case = read_case(item, ["dose"], STRUCTURES, "image")
    rows = {(row.structure, row.metric): row.value for row in case_rows(case, ["dose"], STRUCTURES, [])}
    assert rows["", "dose_score"] == pytest.approx(1)
    assert rows["PTV", "D_95"] == pytest.approx(1) and np.isnan(rows["Rectum", "mean"])
    questions = PlanQuestions.read(True, [{"structure": "Rectum", "metric": "V_10", "max": "50 %"}], None, STRUCTURES)
    plan = {(r.structure, r.metric): r for r in plan_rows(case, STRUCTURES, questions, 60.0) if r.task == "plan"}
    assert np.isnan(plan["Rectum", "mean"].reference) and plan["PTV", "mean"].reference == pytest.approx(60)
    # All of the target, and nothing else that is known, gets 95 % of the prescription.
    assert plan["PTV", "CI_95%"].reference == pytest.approx(1)
    view = make_view({key: volume.numpy() for key, volume in case.volumes.items()}, case.affine, STRUCTURES)
    assert np.isfinite(view.curves["reference_dose"][0]).all() and np.isnan(view.curves["reference_dose"][1]).all()
