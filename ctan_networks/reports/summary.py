# SPDX-License-Identifier: Apache-2.0
"""What the rows of an evaluation come to: scores with intervals over patients, and each structure by itself."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from ctan_networks.metrics.bootstrap import Interval, bootstrap_interval

__all__ = ["chosen_cases", "dice_by_structure", "dvh_by_structure", "patient_scores", "score_table", "strict"]

RESAMPLES = 10_000
# Name: (title, unit, higher is better).
SCORES = {
    "dose_score": ("Dose score", "Gy", False),
    "dvh_score": ("DVH score", "Gy", False),
    "mean_dice": ("Mean Dice", "", True),
}


def patient_scores(rows: pd.DataFrame) -> pd.DataFrame:
    """Scores of each patient, in the order in which patients were evaluated.

    Args:
        rows: as :py:func:`ctan_networks.reports.tables.to_frame` gives them.

    Returns:
        index ``case``; columns ``dose_score`` (Gy), ``dvh_score`` (Gy, mean absolute error of the DVH metrics)
        and ``mean_dice`` (mean over the patient's structures), each NaN where it is unknown.
    """
    groups = _score_rows(rows)
    table = {name: group.groupby("case")["value"].mean() for name, group in groups.items()}
    return pd.DataFrame(table, index=pd.Index(rows["case"].unique(), name="case"), columns=list(SCORES), dtype=float)


def score_table(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """One entry a score that was measured.

    ``value`` is the score as it is defined: mean over patients (dose score; mean Dice, of the patients' means), or one
    flat mean over all metrics of all patients (DVH score). ``low`` and ``high`` bound its bootstrap 95 % interval, in
    which patients are drawn; NaN with fewer than two. ``patients``, ``mean``, ``median``, ``worst`` and ``worst_case``
    describe the patients' own scores.
    """
    patients = patient_scores(rows)
    entries = []
    for name, group in _score_rows(rows).items():
        own = patients[name].dropna()
        if own.empty:
            continue
        title, unit, higher = SCORES[name]
        flat = group.groupby("case", sort=False)["value"].agg(["sum", "count"]).loc[own.index]
        sums, counts = (flat["sum"], flat["count"]) if name == "dvh_score" else (own, pd.Series(1, own.index))
        interval = _interval(sums.to_numpy(float), counts.to_numpy(float))
        worst = str(own.idxmin() if higher else own.idxmax())
        entries.append(
            {
                "name": name,
                "title": title,
                "unit": unit,
                "higher_is_better": higher,
                "value": float(sums.sum() / counts.sum()),
                "low": interval.low,
                "high": interval.high,
                "patients": int(own.size),
                "mean": float(own.mean()),
                "median": float(own.median()),
                "worst": float(own[worst]),
                "worst_case": worst,
            }
        )
    return entries


def dice_by_structure(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Dice of each structure over the patients in whom it is known: n, mean, sd, median and minimum; mean volumes."""
    dice = rows[rows["metric"] == "dice"]
    volumes = rows[rows["metric"] == "volume_cc"].groupby("structure", sort=False)[["reference", "predicted"]]
    # Predicted volumes of those patients alone of whom the reference is known.
    means = volumes.apply(lambda both: both.dropna().mean())
    return [
        {
            "structure": str(structure),
            "n": int(values.count()),
            "mean": float(values.mean()),
            "sd": float(values.std()),
            "median": float(values.median()),
            "min": float(values.min()),
            "reference_cc": float(means.loc[structure, "reference"]) if structure in means.index else math.nan,
            "predicted_cc": float(means.loc[structure, "predicted"]) if structure in means.index else math.nan,
        }
        for structure, values in dice.groupby("structure", sort=False)["value"]
    ]


def dvh_by_structure(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Error of each DVH metric of each structure in Gy, over the patients in whom it is known.

    ``error``, ``sd`` and ``max`` are of \\|reference - prediction\\|, ``bias`` is the mean of prediction - reference.
    """
    known = rows[(rows["task"] == "dose") & (rows["structure"] != "")]
    entries = []
    for (structure, metric), group in known.groupby(["structure", "metric"], sort=False):
        group = group.dropna(subset="value")
        entries.append(
            {
                "structure": str(structure),
                "metric": str(metric),
                "n": len(group),
                "reference": float(group["reference"].mean()),
                "predicted": float(group["predicted"].mean()),
                "bias": float((group["predicted"] - group["reference"]).mean()),
                "error": float(group["value"].mean()),
                "sd": float(group["value"].std()),
                "max": float(group["value"].max()),
            }
        )
    return entries


def chosen_cases(rows: pd.DataFrame, count: int) -> list[tuple[str, str]]:
    """Cases worth a figure, best first, with what each stands for: worst, best, median, then the next worst.

    They are ranked by dose score where a dose was evaluated, else by mean Dice.
    """
    patients = patient_scores(rows)
    by_dose = patients["dose_score"].notna().any()
    ranked = (
        patients["dose_score" if by_dose else "mean_dice"].dropna().sort_values(ascending=bool(by_dose), kind="stable")
    )
    n = len(ranked)
    if n == 0 or count <= 0:
        return []
    wanted = {n - 1: "worst"}
    next_worst = ((n - k, f"{ {2: '2nd', 3: '3rd'}.get(k, f'{k}th') } worst") for k in range(2, n))
    for rank, what in ((0, "best"), ((n - 1) // 2, "median"), *next_worst):
        if len(wanted) == count:
            break
        wanted.setdefault(rank, what)
    if n == 1:
        wanted = {0: "only case"}
    return [(str(ranked.index[rank]), wanted[rank]) for rank in sorted(wanted)]


def strict(value: Any) -> Any:
    """Containers of plain values in which what JSON cannot hold (NaN, infinity) is None."""
    if isinstance(value, dict):
        return {str(k): strict(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [strict(v) for v in value]
    if isinstance(value, np.generic):
        return strict(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _score_rows(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {
        "dose_score": rows[rows["metric"] == "dose_score"],
        "dvh_score": rows[(rows["task"] == "dose") & (rows["structure"] != "")],
        "mean_dice": rows[rows["metric"] == "dice"],
    }


def _interval(sums: np.ndarray, counts: np.ndarray) -> Interval:
    """Of ``sum(sums) / sum(counts)``, over patients."""
    return bootstrap_interval(
        lambda weights: (weights @ sums) / (weights @ counts), np.arange(sums.size), resamples=RESAMPLES
    )
