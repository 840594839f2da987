# SPDX-License-Identifier: Apache-2.0
"""Every number of an evaluation in long form: one row a case, task, structure and metric."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from ctan_networks.metrics.structure_dice import compute_structure_dice
from ctan_networks.radiotherapy.metrics.dose_score import compute_dose_score
from ctan_networks.radiotherapy.metrics.dvh import compute_dvh_metrics, dvh_columns
from ctan_networks.reports.cases import Case
from ctan_networks.utils import atomic_path

__all__ = ["Row", "case_rows", "to_frame", "write_rows"]


class Row(NamedTuple):
    """One number. NaN is a value that is unknown or not defined.

    Attributes:
        case: name of the patient.
        task: ``segmentation`` or ``dose``; ``plan``, ``goal`` and ``gamma`` where they were asked for.
        structure: empty for a number of the whole case.
        metric: ``dice``, ``volume_cc``, ``dose_score`` or the name of a DVH metric; of a plan a metric whose name tells
            its unit (:py:func:`ctan_networks.reports.plan.metric_unit`); a goal as it is worded; the criteria of gamma.
        value: Dice; dose score in Gy; \\|reference - predicted\\| of a DVH metric in Gy, of a volume in cm^3, or of a
            metric of a plan; 1 where both doses meet a goal or both miss it, else 0; gamma pass rate in %, or number of
            points.
        reference: the metric of the reference dose, or the reference's volume; 1 where it meets the goal, else 0; else
            NaN.
        predicted: the same of the predicted dose.
    """

    case: str
    task: str
    structure: str
    metric: str
    value: float
    reference: float = float("nan")
    predicted: float = float("nan")


def case_rows(case: Case, tasks: Sequence[str], structures: Sequence[str], given: Collection[str] = ()) -> list[Row]:
    """Score one case.

    Args:
        case: as :py:func:`ctan_networks.reports.cases.read_case` gives it.
        tasks: active tasks; one without a reference gives no rows.
        structures: names of the channels of the segmentations.
        given: those whose contours the network was given: there is no Dice of them.

    Returns:
        ``dice`` and ``volume_cc`` of each structure; ``dose_score``, and where reference structures are there each DVH
        metric.
    """
    volumes = case.volumes
    rows = []
    if "segmentation" in tasks and "reference_segmentation" in volumes:
        dice = compute_structure_dice(volumes["predicted_segmentation"][None], volumes["reference_segmentation"][None])
        rows += [
            Row(case.name, "segmentation", s, "dice", float(d))
            for s, d in zip(structures, dice[0], strict=True)
            if s not in given
        ]
        voxel = float(abs(np.linalg.det(case.affine[:3, :3]))) / 1000
        counted = [_volumes(volumes[key], voxel) for key in ("reference_segmentation", "predicted_segmentation")]
        rows += [
            Row(case.name, "segmentation", s, "volume_cc", abs(r - p), r, p)
            for s, r, p in zip(structures, *counted, strict=True)
            if s not in given
        ]
    if "dose" in tasks and "reference_dose" in volumes:
        doses = volumes["reference_dose"], volumes["predicted_dose"]
        score = compute_dose_score(doses[1][None], doses[0][None], volumes["mask"][None])
        rows.append(Row(case.name, "dose", "", "dose_score", float(score)))
        if "reference_segmentation" in volumes:
            voxel_volume = float(abs(np.linalg.det(case.affine[:3, :3])))
            reference, predicted = compute_dvh_metrics(
                torch.cat(doses), volumes["reference_segmentation"], structures, voxel_volume
            ).tolist()
            rows += [
                Row(case.name, "dose", structure, metric, abs(r - p), r, p)
                for (structure, metric), r, p in zip(dvh_columns(structures), reference, predicted, strict=True)
            ]
    return rows


def _volumes(masks: torch.Tensor, voxel: float) -> list[float]:
    """In cm^3; NaN where unknown."""
    flat = masks.flatten(1)
    counts = (flat > 0.5).sum(1).double() * voxel
    return torch.where(flat.isnan().any(1), torch.nan, counts).tolist()


def to_frame(rows: Iterable[Row]) -> pd.DataFrame:
    """The rows as a table with the columns of :py:class:`Row`."""
    return pd.DataFrame(list(rows), columns=list(Row._fields))


def write_rows(path: str | os.PathLike, rows: Iterable[Row]) -> None:
    """Write the rows as CSV, whole or not at all; NaN is an empty field."""
    with atomic_path(path) as temporary:
        to_frame(rows).to_csv(temporary, index=False)
