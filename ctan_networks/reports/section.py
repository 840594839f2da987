# SPDX-License-Identifier: Apache-2.0
"""What a section of a report is, and the case that it scores."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor

from ctan_networks.errors import DataError
from ctan_networks.reports.scores import Results, Row, Score
from ctan_networks.reports.slices import Panel

__all__ = ["Case", "Section"]


@dataclass
class Case:
    """One evaluated case.

    Attributes:
        name: of the case.
        group: patient or lesion that it belongs to; None where that is not known.
        item: output of the evaluation and, for what is not there, the batch; emptied once the case is scored.
        image_key: key in ``item`` of the picture or volume that is drawn.
        position: number of the case in its batch.
        rows: the numbers that sections add.
        facts: what sections keep besides, by task.
        volumes: those of ``item`` that sections have read, channel first, on the CPU; emptied with it.
    """

    name: str
    group: str | None = None
    item: Mapping[str, Any] = field(default_factory=dict)
    image_key: str = "image"
    position: int = 0
    rows: list[Row] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    volumes: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def affine(self) -> np.ndarray | None:
        """``[4, 4]``, voxel indices of the image to RAS millimetres; None where the image has no metadata."""
        image = self.item.get(self.image_key)
        return image.affine.detach().cpu().numpy().astype(float) if isinstance(image, MetaTensor) else None

    @property
    def geometry(self) -> np.ndarray:
        """The affine.

        Raises:
            DataError: when there is none.
        """
        affine = self.affine
        if affine is None:
            raise DataError(
                f"{self.name}: '{self.image_key}' must be a MetaTensor, whose affine gives the voxels' size."
            )
        return affine

    def latest(self, handler: Any) -> torch.Tensor | None:
        """What a metric of the evaluator, ``IgniteMetricHandler`` or None, has just computed of this case."""
        rows = getattr(getattr(handler, "metric_fn", None), "latest", None)
        return None if rows is None else rows[self.position]

    def pair(self, task: str, channels: int | None = None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Predicted and reference volume of a task; the reference is None where nothing of it is known.

        Raises:
            DataError: when there is no prediction, it is not finite, or shapes do not fit.
        """
        predicted = self.volume(f"predicted_{task}", channels)
        if predicted is None:
            raise DataError(f"{self.name}: no predicted_{task}; evaluate only the tasks that were predicted.")
        # The sum is not finite when anything is not, and cheaper than a search. NaN must not pass for unknown.
        if not bool(predicted.double().sum().isfinite()):
            raise DataError(
                f"{self.name}: 'predicted_{task}' holds NaN or infinite values; the network or its input is broken."
            )
        reference = self.volume(f"reference_{task}", len(predicted), predicted.shape[1:])
        if reference is not None and bool(reference.isnan().all()):
            del self.volumes[f"reference_{task}"]
            reference = None
        return predicted, reference

    def volume(self, key: str, channels: int | None, grid: Sequence[int] | None = None) -> torch.Tensor | None:
        """A volume as a plain tensor of at least single precision on the CPU; None where there is none.

        Raises:
            DataError: when it has not so many channels or is not of the grid.
        """
        value = self.volumes.get(key, self.item.get(key))
        if value is None:
            return None
        # MetaTensor's own bookkeeping costs more than the arithmetic.
        volume = torch.as_tensor(value).detach().as_subclass(torch.Tensor).cpu()
        volume = volume.to(torch.promote_types(volume.dtype, torch.float32))
        spatial = list(volume.shape[1:])
        if volume.ndim < 3 or len(volume) != (channels or len(volume)) or spatial != list(grid or spatial):
            wanted = ", ".join(map(str, grid)) if grid else "spatial ..."
            raise DataError(
                f"{self.name}: '{key}' has shape {list(volume.shape)}, not [{channels or 'channels'}, {wanted}]; bring "
                "all volumes of a case to one grid."
            )
        self.volumes[key] = volume
        return volume


class Section(ABC):
    """What a report says of one task.

    A subclass defines :py:meth:`score` and :py:meth:`scores`, and overrides what else it has something to say to. Its
    part of the page is the Jinja template beside its file, with the same name; in it ``section`` is the section,
    ``figures`` what :py:meth:`illustrate` gives, and each entry of ``summary.json`` has its own name.

    Args:
        task: name of the task.
        prefix: what the names of the scores begin with; default: the task and ``_``.

    Attributes:
        kind: of the task, as the networks name it.
        criteria: by which cases may be chosen for a picture, see :py:meth:`extremes`.
    """

    kind: str
    criteria: tuple[str, ...] = ()

    def __init__(self, task: str, prefix: str | None = None) -> None:
        self.task = task
        self.prefix = f"{task}_" if prefix is None else prefix

    @property
    def template(self) -> Path:
        """The section's part of the page; it need not be there."""
        return Path(inspect.getfile(type(self))).with_suffix(".html")

    @abstractmethod
    def score(self, case: Case) -> bool:
        """Add the case's numbers to its ``rows``, and to ``facts[task]`` what else is kept of it.

        Returns:
            whether anything is known of the reference.

        Raises:
            DataError: when the prediction is missing or broken, or does not fit the reference.
        """

    @abstractmethod
    def scores(self, results: Results) -> list[Score]:
        """Scores of all cases; NaN where not defined."""

    def notes(self) -> list[str]:
        """Sentences that say how the scores are defined."""
        return []

    def describe(self, results: Results, sections: Sequence[Section]) -> dict[str, Any]:
        """Entries of ``summary.json``; lists and dictionaries of one name are joined over the sections."""
        return {}

    def illustrate(self, results: Results, summary: Mapping[str, Any]) -> dict[str, Any]:
        """Figures of the section's part of the page, as ``data:`` addresses."""
        return {}

    def predictions(self, cases: Sequence[Case]) -> dict[str, list[Any]]:
        """Columns of ``predictions.csv``; without any, from all sections, there is no such file."""
        return {}

    def extremes(self, case: Case) -> list[tuple[str, float, str]]:
        """Of each criterion that the case has a value of: criterion, value (the greatest are drawn), words for it."""
        return []

    def outlines(self) -> dict[str, list[str]]:
        """Segmentation task to the structures whose outlines are drawn on the picture of a case."""
        return {}

    def focus(self, case: Case) -> np.ndarray | None:
        """Mask ``[*spatial]`` of the region through whose centre the planes of a picture go."""
        return None

    def keep(self, case: Case) -> dict[str, np.ndarray]:
        """Arrays that the picture of a case needs besides slices of its volumes."""
        return {}

    def panels(self, case: Case, kept: Mapping[str, np.ndarray]) -> list[Panel]:
        """Panels beside the image with its outlines, from the slices and arrays that were kept."""
        return []

    def details(self, case: Case, kept: Mapping[str, np.ndarray]) -> dict[str, list[Any]]:
        """What stands beside the picture: ``captions``, ``answers``, ``tables``, ``figures``, see ``report.html``."""
        return {}
