# SPDX-License-Identifier: Apache-2.0
"""Which cases of an image-level evaluation are worth a picture, found while they pass by."""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ctan_networks.metrics.classification import UNKNOWN
from ctan_networks.reports.classification_cases import ClassifiedCase

__all__ = ["Choice", "Gallery"]


class Choice(NamedTuple):
    """A case that is drawn.

    Attributes:
        case: its name.
        why: what it was chosen for, in words.
    """

    case: str
    why: str


class Gallery:
    """The most extreme cases by several criteria, of however many.

    Lowest and highest Dice, and for each classification the most confidently wrong and right answers. Only cases that
    may still be chosen need to be kept: :py:meth:`offer` says which.

    Args:
        classes: classification task to the names of its classes.
        segmentation: name of the segmentation task, or None.
        count: greatest number of cases.
    """

    def __init__(self, classes: Mapping[str, Sequence[str]], segmentation: str | None, count: int) -> None:
        self.classes = classes
        self.count = count
        keys = [("dice", "lowest"), ("dice", "highest")] if segmentation else []
        keys += [(task, what) for task in classes for what in ("wrong", "right")]
        # Sorted, best first: (minus the value, number of arrival, name, what to say).
        self.ranked: dict[tuple[str, str], list[tuple[float, int, str, str]]] = {key: [] for key in keys}
        self.arrived = 0

    def offer(self, case: ClassifiedCase) -> set[str]:
        """Take in a case; return the names of all that may still be chosen."""
        for key, value, text in self._values(case):
            ranking = self.ranked[key]
            insort(ranking, (-value, self.arrived, case.name, text))
            # No more than count of one criterion are ever drawn, also when others have chosen some of them.
            del ranking[self.count :]
        self.arrived += 1
        return {entry[2] for ranking in self.ranked.values() for entry in ranking}

    def chosen(self) -> list[Choice]:
        """The cases to draw, by criterion: each criterion in turn chooses its next, until there are enough."""
        reasons: dict[str, tuple[int, int, str]] = {}
        for rank in range(self.count):
            for order, (key, ranking) in enumerate(self.ranked.items()):
                if rank < len(ranking) and len(reasons) < self.count:
                    _, _, name, text = ranking[rank]
                    reasons.setdefault(name, (order, rank, _words(*key, rank) + text))
        return [Choice(name, why) for name, (_, _, why) in sorted(reasons.items(), key=lambda item: item[1][:2])]

    def _values(self, case: ClassifiedCase) -> list[tuple[tuple[str, str], float, str]]:
        values = []
        if ("dice", "lowest") in self.ranked and not np.isnan(case.dice):
            text = f" ({case.dice:.3f})"
            values += [(("dice", "lowest"), -case.dice, text), (("dice", "highest"), case.dice, text)]
        for task, label in case.labels.items():
            if label != UNKNOWN:
                names, predicted, confidence = self.classes[task], case.predicted(task), case.confidence(task)
                right = predicted == label
                text = f": {names[predicted]} ({confidence:.3f})" + ("" if right else f", reference {names[label]}")
                values.append(((task, "right" if right else "wrong"), confidence, text))
        return values


def _words(subject: str, what: str, rank: int) -> str:
    place = "" if rank == 0 else f"{ {1: '2nd', 2: '3rd'}.get(rank, f'{rank + 1}th') } "
    return f"{place}{what} Dice" if subject == "dice" else f"{place}most confidently {what} {subject.replace('_', ' ')}"
