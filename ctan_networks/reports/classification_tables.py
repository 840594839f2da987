# SPDX-License-Identifier: Apache-2.0
"""What the cases of an image-level evaluation come to: scores with intervals over groups, and each class by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, roc_auc_score, roc_curve

from ctan_networks.metrics.bootstrap import bootstrap_interval
from ctan_networks.metrics.classification import (
    UNKNOWN,
    compute_accuracy,
    compute_balanced_accuracy,
    compute_ece,
    compute_recall,
    compute_roc_auc,
    confidence_bin,
)
from ctan_networks.reports.classification_cases import ClassifiedCase

__all__ = ["class_scores", "describe_task", "known_only_where", "labelled", "predictions_frame", "roc_curves"]

RESAMPLES = 2000
BINS = 15
# Statistic of values of the cases (overlap) or of their probabilities and labels, with weights [R, N].
Statistic = Callable[[np.ndarray], Any]


def labelled(cases: Sequence[ClassifiedCase], task: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities ``[N, C]``, labels ``[N]`` and groups ``[N]`` of the cases in which the task's class is known."""
    own = [case for case in cases if case.labels[task] != UNKNOWN]
    classes = len(cases[0].probabilities[task])
    probabilities = np.array([case.probabilities[task] for case in own]).reshape(-1, classes)
    return probabilities, np.array([case.labels[task] for case in own], int), np.array([case.group for case in own])


def predictions_frame(
    cases: Sequence[ClassifiedCase], classes: Mapping[str, Sequence[str]], segmentation: str | None
) -> pd.DataFrame:
    """One row a case: case, group, then of each task the reference's class (empty if unknown), the predicted class and
    the probability of each; ``dice`` and ``jaccard`` where there is a segmentation."""
    table: dict[str, list[Any]] = {"case": [c.name for c in cases], "group": [c.group for c in cases]}
    for task, names in classes.items():
        labels = [case.labels[task] for case in cases]
        table[f"reference_{task}"] = [names[label] if label != UNKNOWN else None for label in labels]
        table[f"predicted_{task}"] = [names[case.predicted(task)] for case in cases]
        for k, name in enumerate(names):
            # float32 has some seven figures; more would be those of its binary form.
            table[f"p_{task}_{name}"] = [float(f"{case.probabilities[task][k]:.7g}") for case in cases]
    if segmentation:
        table["dice"] = [case.dice for case in cases]
        table["jaccard"] = [case.jaccard for case in cases]
    return pd.DataFrame(table)


def class_scores(
    cases: Sequence[ClassifiedCase], classes: Mapping[str, Sequence[str]], segmentation: str | None
) -> list[dict[str, Any]]:
    """One entry a score: ``value`` (NaN where it is not defined), bounds ``low`` and ``high`` of its bootstrap 95 %
    interval, in which groups are drawn, ``undefined`` share of the resamples, and how many cases, ``n``, and ``groups``
    it is of."""
    entries = []
    if segmentation:
        own = [case for case in cases if not np.isnan(case.dice)]
        groups = np.array([case.group for case in own])
        title = capital(segmentation)
        for name, label in (("dice", "Dice"), ("jaccard", "Jaccard index")):
            values = np.array([getattr(case, name) for case in own])
            entries.append(_entry(name, f"{title}: {label}", True, groups, _mean_of(values)))
    for task, names in classes.items():
        probabilities, labels, groups = labelled(cases, task)
        for name, label, higher, function in _scores_of(len(names)):
            statistic = _scored(function, probabilities, labels)
            entries.append(_entry(f"{task}_{name}", f"{capital(task)}: {label}", higher, groups, statistic))
    return entries


def describe_task(cases: Sequence[ClassifiedCase], task: str, names: Sequence[str]) -> dict[str, Any]:
    """Counts, confusion matrix, each class and calibration of a classification task.

    Returns:
        ``classes``; ``n`` labelled cases of ``groups``; ``confusion``, whose rows are the reference; ``per_class`` with
        ``n``, ``recall``, ``precision`` and ``roc_auc`` against the rest; ``ece`` and its bins, ``reliability``, with
        ``low`` and ``high`` edge, ``n``, mean ``confidence`` and ``accuracy``, NaN where empty.
    """
    probabilities, labels, groups = labelled(cases, task)
    predicted = probabilities.argmax(1)
    counts = np.zeros((len(names), len(names)), int)
    if labels.size:
        counts = confusion_matrix(labels, predicted, labels=range(len(names)))
    per_class = []
    for k, name in enumerate(names):
        per_class.append(
            {
                "class": name,
                "n": int(counts[k].sum()),
                "recall": _share(counts[k, k], counts[k].sum()),
                "precision": _share(counts[k, k], counts[:, k].sum()),
                "roc_auc": float(roc_auc_score(labels == k, probabilities[:, k])) if _both(labels, k) else np.nan,
            }
        )
    return {
        "classes": list(names),
        "n": int(labels.size),
        "groups": len(set(groups)),
        "confusion": counts.tolist(),
        "per_class": per_class,
        "ece": compute_ece(probabilities, labels, BINS),
        "reliability": _reliability(probabilities, labels == predicted),
    }


def roc_curves(
    cases: Sequence[ClassifiedCase], task: str, names: Sequence[str]
) -> list[tuple[str, int, np.ndarray, np.ndarray, float]]:
    """Name, number, false and true positive rate and area of each class against the rest, where there are both.

    Of two classes only the second has a curve, since the first one's is the same.
    """
    probabilities, labels, _ = labelled(cases, task)
    curves = []
    for k, name in enumerate(names):
        if _both(labels, k) and (len(names) > 2 or k == 1):
            false, true, _ = roc_curve(labels == k, probabilities[:, k])
            curves.append((name, k, false, true, float(roc_auc_score(labels == k, probabilities[:, k]))))
    return curves


def known_only_where(
    cases: Sequence[ClassifiedCase], task: str, classes: Mapping[str, Sequence[str]]
) -> tuple[str, str] | None:
    """The class of another task (task, class) that all cases with a label of ``task`` share, and some others do not.

    So STOIC gives the severity of COVID-positive patients only; scores of the task are then of that class alone.
    """
    known = [case for case in cases if case.labels[task] != UNKNOWN]
    if len(known) == len(cases):
        return None
    for other, names in classes.items():
        found = {case.labels[other] for case in known}
        if other != task and len(found) == 1 and found != {UNKNOWN}:
            (label,) = found
            if any(case.labels[other] not in (label, UNKNOWN) for case in cases):
                return other, names[label]
    return None


def _scores_of(classes: int) -> list[tuple[str, str, bool, Callable[..., Any]]]:
    """Name, title, whether higher is better, and function of the scores of a task."""
    accuracy = ("accuracy", "accuracy", True, compute_accuracy)
    ece = ("ece", "calibration error (ECE)", False, _ece)
    if classes == 2:
        return [
            ("roc_auc", "ROC AUC", True, compute_roc_auc),
            accuracy,
            ("sensitivity", "sensitivity at 0.5", True, lambda p, y, weights=None: compute_recall(p, y, 1, weights)),
            ("specificity", "specificity at 0.5", True, lambda p, y, weights=None: compute_recall(p, y, 0, weights)),
            ece,
        ]
    return [
        ("balanced_accuracy", "balanced accuracy", True, compute_balanced_accuracy),
        ("roc_auc", "ROC AUC, mean over classes", True, compute_roc_auc),
        accuracy,
        ece,
    ]


def _ece(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> Any:
    return compute_ece(probabilities, labels, BINS, weights)


def _mean_of(values: np.ndarray) -> Statistic:
    return lambda weights: weights @ values / weights.sum(1)


def _scored(function: Callable[..., Any], probabilities: np.ndarray, labels: np.ndarray) -> Statistic:
    return lambda weights: function(probabilities, labels, weights=weights)


def _entry(name: str, title: str, higher: bool, groups: np.ndarray, statistic: Statistic) -> dict[str, Any]:
    with np.errstate(invalid="ignore"):
        value = float(statistic(np.ones((1, len(groups))))[0])
        interval = bootstrap_interval(statistic, groups, RESAMPLES)
    return {
        "name": name,
        "title": title,
        "unit": "",
        "higher_is_better": higher,
        "value": value,
        "low": interval.low,
        "high": interval.high,
        "undefined": interval.undefined,
        "n": len(groups),
        "groups": len(set(groups)),
    }


def _reliability(probabilities: np.ndarray, correct: np.ndarray) -> list[dict[str, Any]]:
    confidence = probabilities.max(1, initial=0)
    number = confidence_bin(confidence, BINS)
    bins = []
    for k in range(BINS):
        inside = number == k
        mean = (float(v[inside].mean()) if inside.any() else np.nan for v in (confidence, correct))
        edges = {"low": k / BINS, "high": (k + 1) / BINS, "n": int(inside.sum())}
        bins.append({**edges, **dict(zip(("confidence", "accuracy"), mean, strict=True))})
    return bins


def _both(labels: np.ndarray, k: int) -> bool:
    return 0 < int((labels == k).sum()) < labels.size


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole else np.nan


def capital(task: str) -> str:
    name = task.replace("_", " ")
    return name[:1].upper() + name[1:]
