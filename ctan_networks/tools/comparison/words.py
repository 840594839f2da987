# SPDX-License-Identifier: Apache-2.0
"""What the numbers of a comparison do and do not support, in plain words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["paragraph"]

ALPHA = 0.05


def paragraph(result: Mapping[str, Any]) -> str:
    """A paragraph on a comparison: on what, how much, which differences are no chance, and what that leaves open.

    Args:
        result: as :py:class:`ctan_networks.tools.comparison.compare.Comparison` makes it, without the paragraph.

    """
    scores, deltas, tests = result["scores"], result["delta_mtl"], result["tests"]
    who = "PHANTOM cases, which say nothing about patients" if result["phantom"] else "cases of patients"
    cases = sorted({row["cases"] for row in scores})
    counted = f"{cases[0]}" if len(cases) == 1 else f"{cases[0]} to {cases[-1]}"
    repeats = f"{result['seeds']} seed{'s' if result['seeds'] > 1 else ''}"
    repeats += f" and {result['folds']} folds" if result["folds"] else ""
    text = [
        f"{result['runs']} trainings with {repeats} and the same budget were evaluated on the same {counted} {who},"
        " a metric each counting those that have its label."
    ]
    unknown = [row["method"] for row in deltas if math.isnan(row["delta"])]
    if unknown:
        text.append(f"Delta_MTL is not defined ({', '.join(unknown)}): a metric of the networks for one task is 0.")
    deltas = [row for row in deltas if not math.isnan(row["delta"])]
    if deltas:
        best = max(deltas, key=lambda row: row["delta"])
        text.append(
            f"The highest Delta_MTL against one network a task has {best['method']}: {best['delta']:+.2f} %"
            f" (95 % interval over cases {best['low']:+.2f} to {best['high']:+.2f} %)."
        )
        ctan = [row for row in deltas if row["method"].startswith("CTAN,")]
        if ctan and not best["method"].startswith("CTAN,"):
            text.append(
                "CTAN is not the best here: " + ", ".join(f"{r['method']} {r['delta']:+.2f} %" for r in ctan) + "."
            )
        unsure = [row["method"] for row in deltas if row["low"] <= 0 <= row["high"]]
        if unsure:
            text.append(f"The interval holds zero for {', '.join(unsure)}: no gain or loss is shown for these.")
    sure = [t for t in tests if t["p_holm"] < ALPHA]
    text.append(
        f"Of {len(tests)} differences tested, {len(sure)} remain below {ALPHA} after Holm's correction"
        + (": " + "; ".join(_difference(t) for t in sure[:6]) + (" ..." if len(sure) > 6 else "") if sure else "")
        + "."
    )
    if result["seeds"] < 3 and not result["folds"]:
        text.append(
            "Intervals and tests are over cases with the trained networks held fixed; with so few seeds the spread"
            " between trainings is hardly known, and a difference of the size of the standard deviation may be luck."
        )
    text.append("Nothing follows for other data, budgets or settings than these.")
    return " ".join(text)


def _difference(test: Mapping[str, Any]) -> str:
    verb = "better" if test["better"] else "worse"
    what = f"{test['task']} {test['metric']} ({test['difference']:+.3f})"
    return f"{test['method']} {verb} than {test['reference']} in {what}"
