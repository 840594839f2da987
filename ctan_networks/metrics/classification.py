# SPDX-License-Identifier: Apache-2.0
"""Scores of class probabilities, with unknown labels left out and with weights for a bootstrap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.metrics.gathering import GatheredMetric

__all__ = [
    "ClassificationScore",
    "compute_accuracy",
    "compute_balanced_accuracy",
    "compute_ece",
    "compute_recall",
    "compute_roc_auc",
]

UNKNOWN = -1


def compute_accuracy(probs: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> Any:
    """Share of cases whose most probable class is the reference's; of equal probabilities the first class counts.

    All functions of this file take the same arguments and have these rules: unknown labels are left out; a case with
    NaN among its probabilities counts as wrong as can be, so that a broken network never looks good; NaN is the score
    of nothing.

    Args:
        probs: probabilities ``[N, C]``.
        labels: class numbers ``[N]``, -1 where unknown.
        weights: how often each case counts, ``[N]``, or ``[R, N]`` for R resamples at once; None: once.

    Returns:
        float, or ``[R]`` float64 with weights ``[R, N]``.

    Raises:
        DataError: when shapes do not fit or a label is no class.
    """
    probs, labels, rows, single = _known(probs, labels, weights)
    with np.errstate(invalid="ignore"):
        return _out(rows @ _correct(probs, labels).astype(float) / rows.sum(1), single)


def compute_balanced_accuracy(probs: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> Any:
    """Mean over the classes that occur in the reference of their recall; see :py:func:`compute_accuracy`.

    scikit-learn's ``balanced_accuracy_score`` agrees.
    """
    probs, labels, rows, single = _known(probs, labels, weights)
    member = (labels[:, None] == np.arange(probs.shape[1])).astype(float)
    return _out(_mean_of_defined(rows @ (member * _correct(probs, labels)[:, None]), rows @ member), single)


def compute_recall(probs: np.ndarray, labels: np.ndarray, index: int, weights: np.ndarray | None = None) -> Any:
    """Share of the cases of one class that are recognised; see :py:func:`compute_accuracy`.

    With two classes this is the sensitivity for class 1 and the specificity for class 0, at the threshold 0.5.

    Args:
        probs: probabilities ``[N, C]``.
        labels: class numbers ``[N]``, -1 where unknown.
        index: number of the class.
        weights: ``[N]`` or ``[R, N]``.
    """
    probs, labels, rows, single = _known(probs, labels, weights)
    member = (labels == index).astype(float)[:, None]
    return _out(_mean_of_defined(rows @ (member * _correct(probs, labels)[:, None]), rows @ member), single)


def compute_roc_auc(probs: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> Any:
    """Area under the ROC curve; see :py:func:`compute_accuracy` for the arguments.

    With two classes that of class 1, else the mean over classes of one against the rest, of the classes that have both
    positives and negatives. Computed as the Mann-Whitney statistic, in which ties count half, which is quick for many
    resamples; scikit-learn's ``roc_auc_score`` with ``sample_weight`` agrees.
    """
    probs, labels, rows, single = _known(probs, labels, weights)
    broken = np.isnan(probs).any(1)
    won, pairs = [], []
    for c in [1] if probs.shape[1] == 2 else range(probs.shape[1]):
        positive = labels == c
        scores = np.where(broken, np.where(positive, -np.inf, np.inf), probs[:, c])
        negatives = np.flatnonzero(~positive)
        negatives = negatives[np.argsort(scores[negatives], kind="stable")]
        below = np.searchsorted(scores[negatives], scores[positive], "left")
        upto = np.searchsorted(scores[negatives], scores[positive], "right")
        # Weight of the negatives among the first 0, 1, 2 ... in the order of their scores.
        total = np.pad(np.cumsum(rows[:, negatives], axis=1), ((0, 0), (1, 0)))
        own = rows[:, positive]
        won.append(np.einsum("rp,rp->r", own, (total[:, below] + total[:, upto]) / 2))
        pairs.append(own.sum(1) * total[:, -1])
    return _out(_mean_of_defined(np.stack(won, 1), np.stack(pairs, 1)), single)


def compute_ece(probs: np.ndarray, labels: np.ndarray, bins: int = 15, weights: np.ndarray | None = None) -> Any:
    """Expected calibration error of the most probable class; see :py:func:`compute_accuracy`.

    Mean over bins of equal width of \\|accuracy - mean confidence\\|, by the number of cases in the bin. Source: Guo et
    al. 2017, arXiv 1706.04599, equations 1 to 3; bin m holds confidences in ((m - 1) / bins, m / bins].

    Args:
        probs: probabilities ``[N, C]``.
        labels: class numbers ``[N]``, -1 where unknown.
        bins: number of bins.
        weights: ``[N]`` or ``[R, N]``.
    """
    probs, labels, rows, single = _known(probs, labels, weights)
    correct = _correct(probs, labels)
    confidence = np.where(np.isnan(probs).any(1), 1.0, probs.max(1, initial=0))
    member = confidence_bin(confidence, bins)[:, None] == np.arange(bins)
    with np.errstate(invalid="ignore"):
        return _out(np.abs(rows @ (member * (correct - confidence)[:, None])).sum(1) / rows.sum(1), single)


def confidence_bin(confidence: np.ndarray, bins: int) -> np.ndarray:
    """Number of the bin of equal width, 0 to ``bins - 1``, that each confidence lies in; the right edge is within."""
    return np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)


METRICS: dict[str, Callable[..., Any]] = {
    "accuracy": compute_accuracy,
    "balanced_accuracy": compute_balanced_accuracy,
    "roc_auc": compute_roc_auc,
    "ece": compute_ece,
}


class ClassificationScore(GatheredMetric):
    """One score of all labelled cases of an epoch.

    Takes probabilities and labels, batch first (``[B, C]`` and ``[B]``) or as lists of one case each (``[C]`` and a
    single number), gathers them over processes, and works in ``IgniteMetricHandler`` with
    ``from_engine(["predicted_<task>", "reference_<task>"])``.

    Args:
        metric: "accuracy", "balanced_accuracy", "roc_auc" or "ece", as the functions of this file compute them.

    Raises:
        ConfigError: when there is no such metric.
    """

    def __init__(self, metric: str) -> None:
        super().__init__()
        if metric not in METRICS:
            raise ConfigError(f"ClassificationScore: metric must be one of {', '.join(METRICS)}, not {metric!r}.")
        self.metric = metric

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> list[torch.Tensor]:
        if y is None:
            raise DataError("ClassificationScore needs a reference: metric(y_pred, y).")
        y_pred, y = (torch.as_tensor(x).detach().as_subclass(torch.Tensor) for x in (y_pred, y))
        if y_pred.ndim != 2 or y.numel() != len(y_pred):
            raise DataError(
                f"ClassificationScore: probabilities {list(y_pred.shape)} and labels {list(y.shape)} must be "
                "[batch, classes] and [batch]."
            )
        return [y_pred, y.reshape(-1)]

    def aggregate(self) -> torch.Tensor:
        """The score of what was accumulated, a single number; NaN when no case has a label.

        Raises:
            DataError: when nothing was scored, a label is no class, or a value is no probability.
        """
        buffers = self.get_buffer()
        if buffers is None:
            raise DataError("ClassificationScore: no case was scored; check the data list of the evaluation.")
        probs, labels = (buffer.cpu() for buffer in buffers)
        probs = probs.double().numpy()
        if np.any((probs < -1e-3) | (probs > 1 + 1e-3)):
            raise DataError(
                "ClassificationScore: a value lies outside 0 to 1; apply a softmax to the network's output."
            )
        return torch.tensor(METRICS[self.metric](probs, labels.numpy()), dtype=torch.float64)


def _known(
    probs: np.ndarray, labels: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """Probabilities, labels and weights ``[R, N]`` of the labelled cases; whether there is but one row of weights."""
    probs, labels = np.asarray(probs, float), np.asarray(labels)
    if probs.ndim != 2 or probs.shape[1] < 2 or labels.shape != probs.shape[:1]:
        raise DataError(
            f"probabilities {list(probs.shape)} and labels {list(labels.shape)} must be [cases, classes] and [cases], "
            "with two classes at least."
        )
    known = labels != UNKNOWN
    wrong = np.unique(labels[known & ((labels < 0) | (labels >= probs.shape[1]))]).tolist()
    if wrong:
        raise DataError(f"labels {wrong}: there are classes 0 to {probs.shape[1] - 1}, and -1 for unknown.")
    rows = np.ones((1, len(labels))) if weights is None else np.atleast_2d(np.asarray(weights, float))
    if rows.shape[1] != len(labels):
        raise DataError(f"weights {list(rows.shape)} are not those of {len(labels)} cases.")
    if not known.all():
        probs, labels, rows = probs[known], labels[known], rows[:, known]
    return probs, labels.astype(int), rows, weights is None or np.ndim(weights) == 1


def _correct(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return (probs.argmax(1) == labels) & ~np.isnan(probs).any(1)


def _mean_of_defined(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """Mean over columns of the quotients whose denominator is not 0; NaN where there is none."""
    defined = denominators > 0
    quotients = np.divide(numerators, denominators, out=np.zeros_like(numerators), where=defined)
    with np.errstate(invalid="ignore"):
        return quotients.sum(1) / defined.sum(1)


def _out(values: np.ndarray, single: bool) -> Any:
    return float(values[0]) if single else values
