# SPDX-License-Identifier: Apache-2.0
"""What the best-known constant scores: the zero of dose prediction where patients share no grid."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from monai.bundle import ConfigWorkflow

from ctan_networks.command_line import check_known, config_entries
from ctan_networks.errors import ConfigError

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
    config = Path(bundle) / "configs" / "train.json"
    if not config.is_file():
        raise ConfigError(f"{bundle} is no bundle that is trained: {config} is not there.")
    check_known(given, config_entries([config]), bundle)
    workflow = ConfigWorkflow(str(config), workflow_type="train", logging_file=False, **given)
    workflow.initialize()
    parser = workflow.parser
    dataset, unit = parser.get_parsed_content("validate#dataset"), float(parser.get_parsed_content("dose_unit"))
    validation = dataset.data
    # Whole cases, as evaluation sees them: training's are cropped.
    dataset.set_data(parser.get_parsed_content("train#dataset#data"))
    share = float(np.mean([dose.mean() / prescription for dose, prescription in _doses(dataset, unit)]))
    dataset.set_data(validation)
    errors = [np.abs(dose - share * prescription).mean() for dose, prescription in _doses(dataset, unit)]
    return {"mean_share_of_prescription": round(share, 4), "constant_dose_score": round(float(np.mean(errors)), 2)}


def _doses(dataset: Any, unit: float) -> Iterator[tuple[np.ndarray, float]]:
    """Doses (Gy) where dose is possible, and prescription, of each case that has a dose."""
    for k in range(len(dataset)):
        case = dataset[k]
        dose = np.asarray(case["dose"], dtype=np.float64)[np.asarray(case["mask"]) > 0]
        dose = dose[~np.isnan(dose)]
        if dose.size:
            yield dose, float(case.get("prescription", unit))
