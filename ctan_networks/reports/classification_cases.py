# SPDX-License-Identifier: Apache-2.0
"""One evaluated image with class probabilities, and perhaps a mask, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from ctan_networks.errors import DataError
from ctan_networks.metrics.classification import UNKNOWN
from ctan_networks.metrics.structure_dice import compute_structure_dice
from ctan_networks.reports.tables import Row

__all__ = ["ClassifiedCase", "case_metrics", "read_classified"]

TOLERANCE = 0.02  # of probabilities from an evaluation in half precision


class ClassifiedCase(NamedTuple):
    """What is known and predicted of one image, without the image.

    Attributes:
        name: of the case.
        group: patient or lesion that it belongs to.
        given_group: False when the case has no group and so is one of its own.
        probabilities: task to ``[C]`` float64.
        labels: task to class number, -1 where unknown.
        dice: of the segmentation; NaN where it is unknown, or where both masks are empty.
    """

    name: str
    group: str
    given_group: bool
    probabilities: dict[str, np.ndarray]
    labels: dict[str, int]
    dice: float

    @property
    def jaccard(self) -> float:
        """Intersection over union, which follows from Dice."""
        return self.dice / (2 - self.dice)

    def confidence(self, task: str) -> float:
        """Probability of the predicted class."""
        return float(self.probabilities[task].max())

    def predicted(self, task: str) -> int:
        """Number of the most probable class."""
        return int(self.probabilities[task].argmax())


def read_classified(
    item: Mapping[str, Any], classes: Mapping[str, Sequence[str]], segmentation: str | None, group_key: str
) -> ClassifiedCase:
    """Check the output of an evaluation for one case.

    Args:
        item: keys as :py:class:`ctan_networks.reports.ClassificationReport` lists them.
        classes: classification task to the names of its classes.
        segmentation: name of the segmentation task, or None.
        group_key: key of the group.

    Raises:
        DataError: when something is missing or does not fit, or nothing is known about the case.
    """
    case = _text(item.get("case"))
    if not case:
        raise DataError("ClassificationReport: an output has no key 'case'; keep the name through postprocessing.")
    tasks = [*([segmentation] if segmentation else []), *classes]
    missing = [f"predicted_{task}" for task in tasks if item.get(f"predicted_{task}") is None]
    if missing:
        raise DataError(f"{case}: no {' and no '.join(missing)}; evaluate only the tasks that the network has.")
    probabilities = {
        task: _probabilities(case, task, item[f"predicted_{task}"], names) for task, names in classes.items()
    }
    labels = {task: _label(case, task, item.get(f"reference_{task}"), names) for task, names in classes.items()}
    dice, known = float("nan"), False
    if segmentation:
        dice, known = _dice(case, segmentation, item)
    if not known and all(label == UNKNOWN for label in labels.values()):
        raise DataError(f"{case}: no reference for {' or '.join(tasks)}; leave it out of the evaluation's data list.")
    group = _text(item.get(group_key))
    return ClassifiedCase(case, group or case, bool(group), probabilities, labels, dice)


def case_metrics(case: ClassifiedCase, segmentation: str | None) -> list[Row]:
    """The numbers of one case, of the tasks whose reference is known.

    Returns:
        ``dice`` and ``jaccard``; for each classification ``correct`` (0 or 1), ``confidence`` (probability of the
        predicted class) and ``probability`` (of the reference's class).
    """
    rows = []
    if segmentation and not np.isnan(case.dice):
        rows += [Row(case.name, segmentation, "", "dice", case.dice)]
        rows += [Row(case.name, segmentation, "", "jaccard", case.jaccard)]
    for task, label in case.labels.items():
        if label != UNKNOWN:
            rows += [Row(case.name, task, "", "correct", float(case.predicted(task) == label))]
            rows += [Row(case.name, task, "", "confidence", case.confidence(task))]
            rows += [Row(case.name, task, "", "probability", float(case.probabilities[task][label]))]
    return rows


def _text(value: Any) -> str:
    if value is None:
        return ""
    return str(value.item() if isinstance(value, torch.Tensor | np.ndarray) and value.ndim == 0 else value).strip()


def _probabilities(case: str, task: str, value: Any, names: Sequence[str]) -> np.ndarray:
    values = torch.as_tensor(value).detach().as_subclass(torch.Tensor).flatten().double().cpu().numpy()
    if len(values) != len(names):
        raise DataError(
            f"{case}: predicted_{task} has {len(values)} values, there are {len(names)} classes: {', '.join(names)}."
        )
    if not np.isfinite(values).all():
        raise DataError(f"{case}: 'predicted_{task}' holds NaN or infinite values; the network or its input is broken.")
    if values.min() < -TOLERANCE or abs(values.sum() - 1) > TOLERANCE:
        raise DataError(f"{case}: predicted_{task} is no probability: {values.tolist()}. It needs a softmax before.")
    return values


def _label(case: str, task: str, value: Any, names: Sequence[str]) -> int:
    if value is None:
        return UNKNOWN
    label = int(torch.as_tensor(value).item())
    if not UNKNOWN <= label < len(names):
        raise DataError(f"{case}: reference_{task} is {label}; there are classes 0 to {len(names) - 1}, -1 is unknown.")
    return label


def _dice(case: str, task: str, item: Mapping[str, Any]) -> tuple[float, bool]:
    """Dice, and whether the reference is known."""
    predicted, reference = (item.get(f"{kind}_{task}") for kind in ("predicted", "reference"))
    mask = torch.as_tensor(predicted).detach().as_subclass(torch.Tensor)
    if mask.shape[0] != 1:
        raise DataError(f"{case}: predicted_{task} has shape {list(mask.shape)}; one channel is wanted.")
    if not bool(mask.double().sum().isfinite()):
        raise DataError(f"{case}: 'predicted_{task}' holds NaN or infinite values; the network or its input is broken.")
    if reference is None:
        return float("nan"), False
    known = torch.as_tensor(reference).detach().as_subclass(torch.Tensor).to(mask.device)
    if bool(known.isnan().any()):
        return float("nan"), False
    if known.shape != mask.shape:
        raise DataError(
            f"{case}: predicted_{task} has shape {list(mask.shape)}, the reference {list(known.shape)}; "
            "bring the prediction to the grid of the reference."
        )
    return float(compute_structure_dice(mask[None], known[None])), True
