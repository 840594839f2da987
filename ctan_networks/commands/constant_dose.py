# SPDX-License-Identifier: Apache-2.0
"""What the best-known constant scores: the zero of dose prediction where patients share no grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from monai.bundle import ConfigWorkflow

__all__ = ["constant_dose"]


def constant_dose(bundle: str, dataset_dir: Any = None, **overrides: Any) -> dict[str, float]:
    """Dose score (Gy) of one dose everywhere in the body: the training cases' mean, in units of the prescription.

    It is ``trivial_dose_score`` in the recipes of a bundle whose cases have no common grid.

    Args:
        bundle: the bundle's folder; its ``train.json`` names the data sets.
        dataset_dir: as the bundle takes it; default: its phantoms.
        overrides: any other id of the configuration, such as ``--split test``.

    """
    given = {key: value for key, value in {"dataset_dir": dataset_dir, **overrides}.items() if value is not None}
    workflow = ConfigWorkflow(
        str(Path(bundle) / "configs" / "train.json"), workflow_type="train", logging_file=False, **given
    )
    workflow.initialize()
    train, validation = (workflow.parser.get_parsed_content(f"{part}#dataset") for part in ("train", "validate"))
    unit = float(workflow.parser.get_parsed_content("dose_unit"))
    shares = []
    for k in range(len(train)):
        case = train[k][0] if isinstance(train[k], list) else train[k]
        inside = np.asarray(case["mask"]) > 0
        shares.append(float(np.asarray(case["dose"])[inside].mean()) / unit)
    share = float(np.mean(shares))
    scores = []
    for k in range(len(validation)):
        case = validation[k]
        inside = np.asarray(case["mask"]) > 0
        scores.append(float(np.abs(np.asarray(case["dose"])[inside] - share * float(case["prescription"])).mean()))
    return {"mean_share_of_prescription": round(share, 4), "constant_dose_score": round(float(np.mean(scores)), 2)}
