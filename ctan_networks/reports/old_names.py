# SPDX-License-Identifier: Apache-2.0
"""Reports under their names and arguments before sections, for one release."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ctan_networks.reports.report import Report
from ctan_networks.reports.section import Section
from ctan_networks.reports.sections.classification import ClassificationSection
from ctan_networks.reports.sections.segmentation import SegmentationSection

__all__ = ["ClassificationReport", "EvaluationReport"]

ASKED = ("plan_metrics", "goals", "gamma", "prescription", "prescription_key")


def EvaluationReport(  # noqa: N802
    output_dir: str, tasks: Sequence[str], structures: Sequence[str], given: Sequence[str] = (), **options: Any
) -> Report:
    """The report of segmentation and dose."""
    # A classification needs no radiotherapy.
    from ctan_networks.reports.sections.dose import DoseSection

    asked = {name: options.pop(name) for name in ASKED if name in options}
    masks = SegmentationSection("segmentation", structures, ["dice", "volume_cc"], given, prefix="")
    usual: dict[str, Any] = {
        "max_figures": 6,
        "rank_by": ["dose_score", "mean_dice"],
        "window": [-160, 240],
        "resamples": 10_000,
    }
    return Report(output_dir, [masks, DoseSection("dose", structures, **asked)], tasks, **usual | options)


def ClassificationReport(  # noqa: N802
    output_dir: str,
    classes: Mapping[str, Sequence[str]],
    segmentation: str | None = None,
    network: Any = None,
    **options: Any,
) -> Report:
    """The report of classifications and perhaps one outline."""
    sections: list[Section] = [ClassificationSection(task, names, network) for task, names in classes.items()]
    if segmentation:
        sections.insert(0, SegmentationSection(segmentation, metrics=["dice", "jaccard"], prefix=""))
    return Report(output_dir, sections, **options)
