# SPDX-License-Identifier: Apache-2.0
"""A classification's scores by sex, age, site or whatever a table knows of the cases."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from ctan_networks.data.tables import read_table
from ctan_networks.reports.subgroups import subgroup_scores
from ctan_networks.utils import atomic_path

__all__ = ["subgroups"]

TITLES = {"balanced_accuracy": "balanced accuracy", "roc_auc": "ROC AUC", "recall": "recall"}


def subgroups(
    predictions: str,
    table: str,
    by: Sequence[str] | str = ("sex", "age", "localization"),
    task: str = "diagnosis",
    key: str = "image_id",
    edges: Sequence[float] = (30, 45, 60, 75),
    watched: str | None = None,
    output: str | None = None,
) -> str:
    """Score an evaluation's predictions in subgroups, with 95 % intervals over patients or lesions.

    Args:
        predictions: ``predictions.csv`` of an evaluation.
        table: CSV with a row for each case, such as ``HAM10000_metadata.csv``.
        by: its columns to divide by.
        task: the classification.
        key: its column with the names of the cases.
        edges: limits that numbers, such as ages, are divided at.
        watched: a class whose recall is given too, such as ``mel``.
        output: CSV to write the numbers to.

    Returns:
        A table in Markdown.

    """
    columns = by.split(",") if isinstance(by, str) else list(by)
    scored = _typed(read_table(predictions, "Give the predictions.csv of an evaluation."))
    attributes = _typed(read_table(table, "Give a CSV with a row for each case."))
    rows = subgroup_scores(scored, attributes, task, columns, key, edges, watched)
    if output is not None:
        with atomic_path(output) as path:
            rows.to_csv(path, index=False)
    shown = [name for name in TITLES if name in rows]
    title = [f"{TITLES[name]} of {watched}" if name == "recall" else TITLES[name] for name in shown]
    lines = ["| | | cases | groups | classes | " + " | ".join(title) + " |", "|" + "---|" * (5 + len(shown))]
    for _, row in rows.iterrows():
        cells = [row["attribute"], row["value"], row["cases"], row["groups"], row["classes"]]
        cells += [_interval(row, name) for name in shown]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """Columns of numbers as numbers; what is empty as unknown."""
    known = table.mask(table == "")
    numbers = known.apply(pd.to_numeric, errors="coerce")
    numeric = {name: numbers[name] for name in known if (numbers[name].notna() == known[name].notna()).all()}
    return known.assign(**numeric)


def _interval(row: pd.Series, name: str) -> str:
    if math.isnan(row[name]):
        return "-"
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{row[name]:.3f}" + ("" if math.isnan(low) else f" ({low:.3f} to {high:.3f})")
