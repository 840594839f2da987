# SPDX-License-Identifier: Apache-2.0
"""Section of a classification task: its scores, each class, calibration, and the answers of single cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.data import MetaTensor
from sklearn.metrics import confusion_matrix, roc_auc_score, roc_curve
from torch import nn

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.metrics.classification import (
    UNKNOWN,
    compute_accuracy,
    compute_balanced_accuracy,
    compute_ece,
    compute_recall,
    compute_roc_auc,
    confidence_bin,
)
from ctan_networks.reports.figures import to_uri
from ctan_networks.reports.saliency import grad_cam
from ctan_networks.reports.scores import Results, Row, Score, capital
from ctan_networks.reports.section import Case, Section
from ctan_networks.reports.sections.classification_figures import draw_confusion, draw_reliability, draw_roc
from ctan_networks.reports.slices import Panel, cut, planes_of, sizes_of

__all__ = ["Answer", "ClassificationSection"]

BINS = 15
TOLERANCE = 0.02  # of probabilities from an evaluation in half precision
INPUT = "image"  # MONAI's engines keep the network's input under this key


class Answer(NamedTuple):
    """What a network said of a case.

    Attributes:
        probabilities: ``[C]`` float64.
        label: number of the reference's class, -1 where unknown.
    """

    probabilities: np.ndarray
    label: int

    @property
    def predicted(self) -> int:
        """Number of the most probable class."""
        return int(self.probabilities.argmax())

    @property
    def confidence(self) -> float:
        """Probability of the most probable class."""
        return float(self.probabilities.max())


class ClassificationSection(Section):
    """Accuracy, ROC AUC, calibration and confusion matrix of a classification.

    Reads ``predicted_<task>``, probabilities ``[C]``, and ``reference_<task>``, the number of the class, -1 or absent
    where unknown. Of two classes the second is the positive one.

    Args:
        task: name of the task.
        classes: names of the classes.
        network: gives ``{task: logits}``; pictures then show Grad-CAM of the predicted class over its input,
            ``image``. None: no Grad-CAM.
        prefix: what the names of the scores begin with; default: the task and ``_``.

    Raises:
        ConfigError: when there are fewer than two classes.
    """

    kind = "classification"

    def __init__(
        self, task: str, classes: Sequence[str], network: nn.Module | None = None, prefix: str | None = None
    ) -> None:
        super().__init__(task, prefix)
        self.classes = [str(name) for name in classes]
        if len(self.classes) < 2:
            raise ConfigError(f"{task}: a classification needs two classes; got {self.classes}.")
        self.network = network
        self.criteria = tuple(f"most confidently {what} {task.replace('_', ' ')}" for what in ("wrong", "right"))

    def score(self, case: Case) -> bool:
        """Add ``correct`` (0 or 1), ``confidence`` and ``probability`` (of the reference's class)."""
        answer = case.facts[self.task] = Answer(self._probabilities(case), self._label(case))
        if answer.label == UNKNOWN:
            return False
        numbers = {
            "correct": float(answer.predicted == answer.label),
            "confidence": answer.confidence,
            "probability": float(answer.probabilities[answer.label]),
        }
        case.rows += [Row(case.name, self.task, "", metric, value) for metric, value in numbers.items()]
        return True

    def scores(self, results: Results) -> list[Score]:
        """Of two classes ROC AUC, accuracy, sensitivity, specificity, ECE; of more balanced accuracy first."""
        probabilities, labels, names = self._known(results.cases)
        chosen: list[tuple[str, str, Callable[..., Any]]]
        if len(self.classes) == 2:
            chosen = [
                ("roc_auc", "ROC AUC", compute_roc_auc),
                ("accuracy", "accuracy", compute_accuracy),
                ("sensitivity", "sensitivity at 0.5", partial(compute_recall, index=1)),
                ("specificity", "specificity at 0.5", partial(compute_recall, index=0)),
            ]
        else:
            chosen = [
                ("balanced_accuracy", "balanced accuracy", compute_balanced_accuracy),
                ("roc_auc", "ROC AUC, mean over classes", compute_roc_auc),
                ("accuracy", "accuracy", compute_accuracy),
            ]
        chosen.append(("ece", "calibration error (ECE)", partial(compute_ece, bins=BINS)))
        return [
            results.score(
                f"{self.prefix}{name}",
                f"{capital(self.task)}: {title}",
                _statistic(function, probabilities, labels),
                names,
                higher_is_better=name != "ece",
            )
            for name, title, function in chosen
        ]

    def describe(self, results: Results, sections: Sequence[Section]) -> dict[str, Any]:
        """Counts, confusion matrix, each class and calibration.

        Returns:
            ``classes``; ``n`` labelled cases of ``groups``; ``confusion``, whose rows are the reference; ``per_class``
            with ``n``, ``recall``, ``precision`` and ``roc_auc`` against the rest; ``ece`` and its bins,
            ``reliability``, with ``low`` and ``high`` edge, ``n``, mean ``confidence`` and ``accuracy``, NaN where
            empty; ``known_only_where``.
        """
        probabilities, labels, names = self._known(results.cases)
        predicted = probabilities.argmax(1)
        counts = np.zeros((len(self.classes), len(self.classes)), int)
        if labels.size:
            counts = confusion_matrix(labels, predicted, labels=range(len(self.classes)))
        per_class = [
            {
                "class": name,
                "n": int(counts[k].sum()),
                "recall": _share(counts[k, k], counts[k].sum()),
                "precision": _share(counts[k, k], counts[:, k].sum()),
                "roc_auc": float(roc_auc_score(labels == k, probabilities[:, k])) if _both(labels, k) else np.nan,
            }
            for k, name in enumerate(self.classes)
        ]
        described = {
            "classes": self.classes,
            "n": int(labels.size),
            "groups": len({results.members[name] for name in names}),
            "confusion": counts.tolist(),
            "per_class": per_class,
            "ece": compute_ece(probabilities, labels, BINS),
            "reliability": _reliability(probabilities, labels == predicted),
            "known_only_where": self._known_only_where(results.cases, sections),
        }
        return {"classification": {self.task: described}}

    def illustrate(self, results: Results, summary: Mapping[str, Any]) -> dict[str, Any]:
        described = summary["classification"][self.task]
        if not described["n"]:
            return {}
        curves = self.curves(results, described)
        return {
            "confusion": to_uri(draw_confusion(np.array(described["confusion"]), self.classes)),
            "roc": to_uri(draw_roc(curves)) if curves else None,
            "reliability": to_uri(draw_reliability(described["reliability"], described["ece"])),
        }

    def curves(self, results: Results, described: Mapping[str, Any]) -> list[tuple[str, int, Any, Any, float]]:
        """Name, number, false and true positive rates and area of each class against the rest, where there are both.

        Of two classes only the second has a curve, since the first one's is the same.
        """
        probabilities, labels, _ = self._known(results.cases)
        return [
            (name, k, *roc_curve(labels == k, probabilities[:, k])[:2], described["per_class"][k]["roc_auc"])
            for k, name in enumerate(self.classes)
            if _both(labels, k) and (len(self.classes) > 2 or k == 1)
        ]

    def notes(self) -> list[str]:
        kind = "Sensitivity and specificity: recall of the second and of the first of two classes."
        if len(self.classes) > 2:
            kind = "Balanced accuracy: mean of the classes' recalls. ROC AUC: mean of each class against the rest."
        return [
            "Accuracy: the most probable class is the reference's.",
            kind,
            f"ECE: difference of confidence and accuracy in {BINS} equal bins of confidence, by their number of cases "
            "(Guo et al. 2017); with few cases it comes out too large.",
        ]

    def predictions(self, cases: Sequence[Case]) -> dict[str, list[Any]]:
        answers = [case.facts[self.task] for case in cases]
        labels = [None if answer.label == UNKNOWN else self.classes[answer.label] for answer in answers]
        predicted = [self.classes[answer.predicted] for answer in answers]
        # float32 has some seven figures; more would be those of its binary form.
        return {f"reference_{self.task}": labels, f"predicted_{self.task}": predicted} | {
            f"p_{self.task}_{name}": [float(f"{answer.probabilities[k]:.7g}") for answer in answers]
            for k, name in enumerate(self.classes)
        }

    def extremes(self, case: Case) -> list[tuple[str, float, str]]:
        answer = case.facts[self.task]
        if answer.label == UNKNOWN:
            return []
        right = answer.predicted == answer.label
        words = f": {self.classes[answer.predicted]} ({answer.confidence:.3f})"
        words += "" if right else f", reference {self.classes[answer.label]}"
        return [(self.criteria[right], answer.confidence, words)]

    def keep(self, case: Case) -> dict[str, np.ndarray]:
        if self.network is None:
            return {}
        if case.item.get(INPUT) is None:
            raise DataError(
                f"{case.name}: no '{INPUT}', the network's input, to compute Grad-CAM of; give the report no network."
            )
        image = torch.as_tensor(case.item[INPUT])
        kept = {"input": image.detach().as_subclass(torch.Tensor).cpu().numpy().astype(np.float16)}
        if isinstance(image, MetaTensor) and image.ndim == 4:
            kept["input_affine"] = image.affine.detach().cpu().numpy().astype(float)
        return kept

    def panels(self, case: Case, kept: Mapping[str, np.ndarray]) -> list[Panel]:
        if self.network is None:
            return []
        seen, predicted = kept["input"].astype(np.float32), case.facts[self.task].predicted
        saliency = grad_cam(self.network, torch.from_numpy(seen)[None], self.task, predicted)
        highest = saliency == saliency.max() if saliency.any() else None
        image = seen if seen.ndim == 3 and len(seen) == 3 else seen[:1]
        shown = cut({"image": image, "saliency": saliency[None]}, kept.get("input_affine"), highest)
        title = f"{capital(self.task)}: {self.classes[predicted]}"
        glow = {plane: values[0] for plane, values in planes_of(shown, "saliency").items()}
        window = (float(seen.min()), float(seen.max())) if seen.ndim == 4 else None
        return [
            Panel(title, planes_of(shown, "image"), sizes_of(shown), {}, glow, "inferno", fading=True, window=window)
        ]

    def details(self, case: Case, kept: Mapping[str, np.ndarray]) -> dict[str, list[Any]]:
        answer = case.facts[self.task]
        classes = [
            {"name": name, "p": float(p), "true": k == answer.label}
            for k, (name, p) in enumerate(zip(self.classes, answer.probabilities, strict=True))
        ]
        reference = self.classes[answer.label] if answer.label != UNKNOWN else "unknown"
        return {"answers": [{"task": capital(self.task), "reference": reference, "classes": classes}]}

    def _probabilities(self, case: Case) -> np.ndarray:
        name = f"predicted_{self.task}"
        if case.item.get(name) is None:
            raise DataError(f"{case.name}: no {name}; evaluate only the tasks that were predicted.")
        values = torch.as_tensor(case.item[name]).detach().as_subclass(torch.Tensor).flatten().double().cpu().numpy()
        if len(values) != len(self.classes):
            raise DataError(
                f"{case.name}: {name} has {len(values)} values, there are {len(self.classes)} classes: "
                f"{', '.join(self.classes)}."
            )
        if not np.isfinite(values).all():
            raise DataError(f"{case.name}: '{name}' holds NaN or infinite values; the network or its input is broken.")
        if values.min() < -TOLERANCE or abs(values.sum() - 1) > TOLERANCE:
            raise DataError(f"{case.name}: {name} is no probability: {values.tolist()}. It needs a softmax before.")
        return values

    def _label(self, case: Case) -> int:
        value = case.item.get(f"reference_{self.task}")
        label = UNKNOWN if value is None else int(torch.as_tensor(value).item())
        if not UNKNOWN <= label < len(self.classes):
            raise DataError(
                f"{case.name}: reference_{self.task} is {label}; there are classes 0 to {len(self.classes) - 1}, -1 is "
                "unknown."
            )
        return label

    def _known(self, cases: Sequence[Case]) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Probabilities ``[N, C]``, labels ``[N]`` and names of the cases in which the class is known."""
        own = [case for case in cases if case.facts[self.task].label != UNKNOWN]
        answers = [case.facts[self.task] for case in own]
        probabilities = np.array([answer.probabilities for answer in answers]).reshape(-1, len(self.classes))
        return probabilities, np.array([answer.label for answer in answers], int), [case.name for case in own]

    def _known_only_where(self, cases: Sequence[Case], sections: Sequence[Section]) -> str | None:
        """The class of another task that all labelled cases share, and some others do not.

        The severity of a disease, for example, is known only in those who have it; scores are then of them alone.
        """
        known = [case for case in cases if case.facts[self.task].label != UNKNOWN]
        for other in sections:
            if not isinstance(other, ClassificationSection) or other is self or len(known) == len(cases):
                continue
            found = {case.facts[other.task].label for case in known}
            if len(found) == 1 and found != {UNKNOWN}:
                (label,) = found
                if any(case.facts[other.task].label not in (label, UNKNOWN) for case in cases):
                    return f"{other.task}: {other.classes[label]}"
        return None


def _statistic(function: Callable[..., Any], probabilities: np.ndarray, labels: np.ndarray) -> Callable[..., Any]:
    return lambda weights: function(probabilities, labels, weights=weights)


def _reliability(probabilities: np.ndarray, correct: np.ndarray) -> list[dict[str, Any]]:
    confidence = probabilities.max(1, initial=0)
    number = confidence_bin(confidence, BINS)
    n = np.bincount(number, minlength=BINS)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(number, values, BINS) / n for values in (confidence, correct)]
    return [
        {"low": k / BINS, "high": (k + 1) / BINS, "n": int(n[k]), "confidence": float(c), "accuracy": float(a)}
        for k, (c, a) in enumerate(zip(*means, strict=True))
    ]


def _both(labels: np.ndarray, k: int) -> bool:
    return 0 < int((labels == k).sum()) < labels.size


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole else np.nan
