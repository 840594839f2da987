# SPDX-License-Identifier: Apache-2.0
"""DVHs of a clinic's structures and dose."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ctan_networks.data.phantom_marker import is_phantom
from ctan_networks.errors import ConfigError, DataError
from ctan_networks.radiotherapy.dicom.dvh_table import StructureDVH, structure_dvhs
from ctan_networks.radiotherapy.dicom.patient_folder import scan_folder
from ctan_networks.radiotherapy.dicom.rtdose import read_dose, sum_doses
from ctan_networks.radiotherapy.dicom.rtstruct import read_structures
from ctan_networks.radiotherapy.dicom.stored_dvh import read_stored_dvhs
from ctan_networks.radiotherapy.dicom.structures_and_dose import read_structures_and_dose
from ctan_networks.radiotherapy.pseudonyms import without_patient
from ctan_networks.reports.dvh_page import dvh_page
from ctan_networks.utils import atomic_path

__all__ = ["dvh"]

logger = logging.getLogger(__name__)

STEP_GY = 0.1
SHOWN = ["volume_cc", "covered_percent", "minimum", "mean", "maximum", "D_98", "D_95", "D_2", "D_0.03_cc"]


def dvh(
    folder: str,
    output_dir: str | None = None,
    levels: Sequence[float] | float = (),
    structures: str | Sequence[str] | None = None,
    prescription: float | None = None,
    end_slice: float = 1.0,
    json_output: bool = False,
) -> None:
    """Compute the DVH of every structure of a patient: RTSTRUCT and RTDOSE, no CT needed.

    Prints a table, and with ``--output_dir`` writes ``dvh.csv`` (one row a structure), ``dvh_curves.csv`` (volume by
    dose) and ``dvh.html`` (a page with the curves). Where the RTDOSE holds DVHs of the planning system, its volume and
    mean dose stand beside ours.

    Args:
        folder: of one patient, with RTSTRUCT and RTDOSE (one, or one a beam) in any files and sub-folders.
        output_dir: folder of the results.
        levels: doses in Gy for V_x, such as ``--levels 20,40``.
        structures: ROI names, separated by commas; default: all.
        prescription: in Gy, for stored DVHs whose axis is in per cent; default: what the plan states.
        end_slice: thickness that the first and last slice of a structure count with, relative to the others. Planning
            systems differ: CERR counts them in full (1.0), Eclipse by about 0.6.
        json_output: print JSON in place of the table.

    Raises:
        DataError: when structures or dose are missing, or do not belong together.
        ConfigError: when no structure has a name that was asked for.

    """
    (structure_file, structure_set), planned = read_structures_and_dose(scan_folder(folder))
    grid = sum_doses([read_dose(file) for file, _ in planned.doses])
    known = _chosen(read_structures(structure_file, structure_set), structures)
    given = planned.prescription.gray if prescription is None else float(prescription)
    logger.info("dose: %s; prescription: %s Gy", planned.kind, "unknown" if given is None else f"{given:g}")
    stored = []
    # The DVHs of one beam's dose are not those of the plan.
    if len(planned.doses) == 1:
        try:
            stored = read_stored_dvhs(planned.doses[0][0], prescription=given)
        except DataError as error:
            logger.warning("stored DVHs are left out: %s", error)
    levels = [float(x) for x in (levels if isinstance(levels, Sequence) else [levels])]
    found, left_out = structure_dvhs(known, grid, stored, end_slice)
    if not found:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise DataError(f"{folder}: no structure has a DVH ({reasons or 'the structure set is empty'}).")
    names = {d.number: without_patient(d.name, structure_set) for d in found}
    table = pd.DataFrame([_row(d, names[d.number], levels) for d in found])
    for name, reason in left_out.items():
        logger.warning("%s has no DVH: %s", without_patient(name, structure_set), reason)
    if json_output:
        print(json.dumps(json.loads(table.to_json(orient="records", double_precision=6)), indent=2))
    else:
        columns = ["structure", *SHOWN, *[c for c in table if c.startswith("V_") and not c.endswith("_cc")]]
        print(table[columns].to_string(index=False, float_format=lambda v: f"{v:.2f}", na_rep="-"))
        if stored:
            both = table.dropna(subset=["stored_mean"])
            print("\nBeside the planning system's stored DVHs:")
            beside = both[["structure", "volume_cc", "stored_volume_cc", "mean", "stored_mean"]]
            print(beside.to_string(index=False, float_format=lambda v: f"{v:.3f}"))
    if output_dir is not None:
        curves = _curves(found, names)
        for name, frame in (("dvh.csv", table), ("dvh_curves.csv", curves)):
            with atomic_path(Path(output_dir) / name) as path:
                frame.to_csv(path, index=False, float_format="%.6g")
        with atomic_path(Path(output_dir) / "dvh.html") as path:
            path.write_text(dvh_page(table, curves, is_phantom([{"folder": str(folder)}])), encoding="utf-8")
        logger.info("dvh.csv, dvh_curves.csv and dvh.html written to %s", output_dir)


def _chosen(known: list[Any], structures: str | Sequence[str] | None) -> list[Any]:
    if structures is None:
        return known
    wanted = [str(n).strip() for n in (structures.split(",") if isinstance(structures, str) else structures)]
    missing = sorted(set(wanted) - {s.name for s in known})
    if missing:
        there = ", ".join(s.name for s in known)
        raise ConfigError(f"no structure is called {', '.join(missing)}. The structure set has: {there}.")
    return [s for s in known if s.name in wanted]


def _row(found: StructureDVH, name: str, levels: Sequence[float]) -> dict[str, Any]:
    stored = found.stored
    return {
        "structure": name,
        "roi_number": found.number,
        "type": found.kind,
        "volume_cc": found.volume_cc,
        "covered_percent": found.covered,
        **found.statistics(levels),
        "stored_volume_cc": stored.total if stored else np.nan,
        "stored_mean": (stored.stated_mean if np.isfinite(stored.stated_mean) else stored.mean) if stored else np.nan,
    }


def _curves(found: Sequence[StructureDVH], names: dict[int, str]) -> pd.DataFrame:
    """Cumulative DVHs in long form: structure, source (computed, stored), dose in Gy, volume in cc and per cent."""
    frames = []
    for d in found:
        if d.dvh is not None:
            dose = np.arange(0, d.dvh.dose[-1] + STEP_GY, STEP_GY)
            frames.append(_curve(names[d.number], "computed", dose, d.dvh.volume_at(dose), d.dvh.total))
        if d.stored is not None and np.isfinite(d.stored.volume).all():
            frames.append(_curve(names[d.number], "stored", d.stored.dose, d.stored.volume, d.stored.total))
    return pd.concat(frames, ignore_index=True)


def _curve(name: str, source: str, dose: np.ndarray, volume: np.ndarray, total: float) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "structure": name,
            "source": source,
            "dose_gy": dose,
            "volume_cc": volume,
            "volume_percent": 100 * volume / total,
        }
    )
