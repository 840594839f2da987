# SPDX-License-Identifier: Apache-2.0
"""All DVH metrics of a validation's patients against the definition's loop: one numpy.percentile a ROI and metric."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from common import interleaved, parser, ratio, show, spread

from ctan_networks.datasets.case_reader import CaseReader
from ctan_networks.datasets.openkbp.files import STRUCTURES, read_voxel_dimensions
from ctan_networks.datasets.openkbp.phantoms import openkbp_cohort
from ctan_networks.radiotherapy.metrics.dvh import compute_dvh_metrics, dvh_columns

Patient = tuple[torch.Tensor, torch.Tensor, float]


def definition(patients: list[Patient]) -> list[dict[tuple[int, str, str], float]]:
    """As the challenge's paper defines them, of reference and prediction, one after the other."""
    rows = []
    for doses, masks, voxel in patients:
        found: dict[tuple[int, str, str], float] = {}
        for which, dose in enumerate(doses.numpy()):
            for name, mask in zip(STRUCTURES, masks.numpy(), strict=True):
                if np.isnan(mask).any() or not (mask > 0.5).any():
                    continue
                inside = dose[mask > 0.5]
                if name.startswith("PTV"):
                    for metric, percentile in (("D_99", 1), ("D_95", 5), ("D_1", 99)):
                        found[which, name, metric] = float(np.percentile(inside, percentile))
                else:
                    tenth = max(1, round(100 / voxel))
                    found[which, name, "D_0.1_cc"] = float(np.percentile(inside, 100 - 100 * tenth / inside.size))
                    found[which, name, "mean"] = float(inside.mean())
        rows.append(found)
    return rows


def ours(patients: list[Patient]) -> list[np.ndarray]:
    """The package's, of both doses at once."""
    return [compute_dvh_metrics(doses, masks, STRUCTURES, voxel).numpy() for doses, masks, voxel in patients]


def read(folder: Path, count: int) -> list[Patient]:
    """Dose, a shifted dose, structures and voxel volume."""
    reader, patients = CaseReader(), []
    for patient in sorted(p for p in folder.iterdir() if (p / "dose.csv").is_file())[:count]:
        dose = torch.from_numpy(reader.get_data(patient / "dose.csv")[0])[None]
        bits, meta = reader.get_data(patient)
        masks = np.stack([(bits >> k & 1).astype(np.float32) for k in range(len(STRUCTURES))])
        masks[[not there for there in meta["present"]]] = np.nan
        voxel = float(np.prod(read_voxel_dimensions(patient / "voxel_dimensions.csv")))
        patients.append((torch.cat([dose, dose.roll(2, 1)]), torch.from_numpy(masks), voxel))
    return patients


def main() -> None:
    """Print the table."""
    arguments = parser(__doc__, "OpenKBP's provided-data; default: phantoms")
    given = arguments.parse_args()
    root = Path(given.data) if given.data else Path(openkbp_cohort(tempfile.mkdtemp(), 1, 3 if given.quick else 33))
    patients = read(root / "validation-pats", 3 if given.quick else 33)
    for mine, row in zip(ours(patients), definition(patients), strict=True):
        for k, (structure, metric) in enumerate(dvh_columns(STRUCTURES)):
            for which in (0, 1):
                wanted = row.get((which, structure, metric), np.nan)
                np.testing.assert_allclose(mine[which, k], wanted, rtol=1e-5)
    times = interleaved({"definition": lambda: definition(patients), "compute_dvh_metrics": lambda: ours(patients)}, 5)
    show(
        f"DVH metrics of {len(patients)} {'patients' if given.data else 'phantoms'}, two doses each. Target: 3 times",
        ["way", "s: median (range)", "times as fast"],
        [(name, spread(values), ratio(times["definition"], values)) for name, values in times.items()],
    )


if __name__ == "__main__":
    main()
