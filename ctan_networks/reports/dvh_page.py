# SPDX-License-Identifier: Apache-2.0
"""A page with the DVH curves of one patient's structures and the numbers read off them."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ctan_networks.reports.figures import DASHED, SOLID, draw_dvh, to_uri
from ctan_networks.reports.html import render_page

__all__ = ["draw_dvh_curves", "dvh_page"]

NAMES = {"volume_cc": "volume (cc)", "covered_percent": "in dose grid (%)"}
LEFT_OUT = ("roi_number", "type")


def draw_dvh_curves(curves: pd.DataFrame) -> Figure:
    """Cumulative DVHs: computed ones solid, those that the planning system stored dashed.

    Args:
        curves: columns structure, source ("computed" or "stored"), dose_gy, volume_percent.

    """
    structures = {
        str(name): {source: (curve["dose_gy"], curve["volume_percent"]) for source, curve in own.groupby("source")}
        for name, own in curves.groupby("structure", sort=False)
    }
    styles = {"computed": SOLID, "stored": DASHED}
    return draw_dvh(structures, {key: style for key, style in styles.items() if (curves["source"] == key).any()})


def dvh_page(table: pd.DataFrame, curves: pd.DataFrame, phantom: bool = False) -> str:
    """The HTML page; it refers to nothing outside itself.

    Args:
        table: one row a structure, with "structure" and columns of numbers.
        curves: as for :py:func:`draw_dvh_curves`.
        phantom: the patient is a phantom; the page says so.

    """
    shown = table.drop(columns=[c for c in LEFT_OUT if c in table]).dropna(axis="columns", how="all")
    columns = [NAMES.get(c, c.replace("_", " ")) for c in shown.columns[1:]]
    rows = [(row[0], list(row[1:])) for row in shown.itertuples(index=False, name=None)]
    return render_page(
        "dvh.html",
        {
            "title": "Dose-volume histograms",
            "phantom": phantom,
            "tasks": ["DVH"],
            "scores": [],
            "history": None,
            "details": {},
            "columns": columns,
            "rows": rows,
            "figure": to_uri(draw_dvh_curves(curves)),
            "stored": bool((curves["source"] == "stored").any()),
        },
    )
