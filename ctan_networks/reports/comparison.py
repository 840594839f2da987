# SPDX-License-Identifier: Apache-2.0
"""The page of a comparison: table, Delta_MTL, learning curves and the weights of the tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ctan_networks.reports.figures import colour, to_uri
from ctan_networks.reports.html import render_page
from ctan_networks.reports.sections.training import draw_curves

__all__ = ["comparison_page", "draw_delta", "draw_runs"]

TEMPLATE = "comparison.html"
# Method, task of a single-task network, seed, file.
History = tuple[str, str | None, int, Path]


def comparison_page(result: Mapping[str, Any], histories: Sequence[History]) -> str:
    """Fill the page.

    Args:
        result: what ``comparison.json`` holds.
        histories: learning curves of every run.
    """
    curves = read_histories(histories)
    methods = list(dict.fromkeys(row["method"] for row in result["scores"]))
    keys = list(dict.fromkeys((row["task"], row["metric"], row["higher_is_better"]) for row in result["scores"]))
    cells = {(row["method"], row["task"], row["metric"]): row for row in result["scores"]}
    figures = {
        "delta": to_uri(draw_delta(result["delta_mtl"])) if result["delta_mtl"] else None,
        "losses": _uri(draw_runs(curves, methods, "loss_")),
        "weights": _uri(draw_runs(curves, methods, "weight_", skip_constant=True)),
    }
    return render_page(
        TEMPLATE,
        {
            "title": f"Comparison of architectures: {result['bundle']}",
            "tasks": list(dict.fromkeys(key[0] for key in keys)),
            "history": None,
            "details": {**result["identity"], **result["overrides"], "runs": result["runs"], "seeds": result["seeds"]},
            "table": [{"method": m, "cells": [cells.get((m, t, k)) for t, k, _ in keys]} for m in methods],
            "best": [_best(result["scores"], key) for key in keys],
            "columns": keys,
            "deltas": {row["method"]: row for row in result["delta_mtl"]},
            "figures": figures,
            **{k: result[k] for k in ("phantom", "scores", "tests", "cost", "paragraph", "runs", "seeds")},
        },
    )


def read_histories(histories: Sequence[History]) -> pd.DataFrame:
    """All learning curves in one table: method, task, seed, epoch, name, value."""
    parts = []
    for method, task, seed, file in histories:
        if file.is_file():
            parts.append(pd.read_csv(file).dropna().assign(method=method, task=task or "", seed=seed))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["method", "name", "epoch", "value"])


def draw_delta(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Delta_MTL of each method with its interval, and that of each seed as a dot."""
    figure = Figure(figsize=(8, 0.8 + 0.42 * len(rows)), layout="constrained")
    axis = figure.subplots()
    for k, row in enumerate(reversed(rows)):
        axis.barh(k, row["delta"], color="#7fa8d9" if row["delta"] >= 0 else "#e0a08c", height=0.6)
        if np.isfinite(row["low"]):
            axis.plot([row["low"], row["high"]], [k, k], color="#1c2430", linewidth=1.4)
        axis.plot(row["runs"], [k] * len(row["runs"]), "o", color="#1c2430", markersize=3.5)
    axis.axvline(0, color="#1c2430", linewidth=1)
    axis.set_yticks(range(len(rows)), [row["method"] for row in reversed(rows)])
    axis.set_xlabel("Delta_MTL against STL (%)")
    axis.grid(axis="x", alpha=0.3)
    return figure


def draw_runs(curves: pd.DataFrame, methods: Sequence[str], prefix: str, skip_constant: bool = False) -> Figure | None:
    """Every run's curve of what begins with ``prefix``, one panel a task, one colour a method; None without any."""
    own = curves[curves["name"].str.startswith(prefix)] if len(curves) else curves
    if skip_constant and len(own):
        own = own[own.groupby("method")["value"].transform(lambda v: v.max() - v.min()) > 1e-9]
    if own.empty:
        return None
    panels = {
        str(name).removeprefix(prefix): [
            (run, {"color": colour(methods.index(str(method)))})
            for (method, _), run in group.groupby(["method", "seed"], sort=False)
        ]
        for name, group in own.groupby("name", sort=False)
    }
    figure = draw_curves(panels)
    shown = [m for m in methods if m in set(own["method"])]
    handles = [Line2D([], [], color=colour(methods.index(m)), label=m) for m in shown]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def _uri(figure: Figure | None) -> str | None:
    return to_uri(figure) if figure is not None else None


def _best(scores: Sequence[Mapping[str, Any]], key: tuple[str, str, bool]) -> str:
    task, metric, higher = key
    own = [row for row in scores if (row["task"], row["metric"]) == (task, metric)]
    return (max if higher else min)(own, key=lambda row: row["mean"])["method"]
