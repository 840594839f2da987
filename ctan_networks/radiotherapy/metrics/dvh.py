# SPDX-License-Identifier: Apache-2.0
"""Dose-volume histograms (DVH): curves, points on them, and the DVH score of the OpenKBP challenge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.metrics.utils import prepare_spacing
from numpy.typing import ArrayLike

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.metrics.gathering import GatheredMetric
from ctan_networks.radiotherapy.metrics.dose_score import take_reference, zero_outside

__all__ = [
    "DVHScore",
    "compute_dvh_metrics",
    "dose_at_volume",
    "doses_in_structures",
    "dvh_columns",
    "dvh_curve",
    "volume_at_dose",
]

TARGET_PREFIX = "PTV"
# D_x: dose that x per cent of the target receive at least, so percentile 100 - x.
TARGET_PERCENTILES = {"D_99": 1.0, "D_95": 5.0, "D_1": 99.0}
ORGAN_METRICS = ("D_0.1_cc", "mean")


def dvh_columns(names: Sequence[str]) -> list[tuple[str, str]]:
    """(structure, metric) of each DVH metric: D_99, D_95, D_1 of a target (PTV...), else D_0.1_cc and mean."""
    return [(name, m) for name in names for m in (TARGET_PERCENTILES if _is_target(name) else ORGAN_METRICS)]


def compute_dvh_metrics(
    dose: torch.Tensor, structures: torch.Tensor, names: Sequence[str], voxel_volume: float
) -> torch.Tensor:
    """DVH metrics of OpenKBP of one case, for any number of doses on the same structures.

    Percentiles are NumPy's linear ones. D_0.1_cc is percentile 100 - 100 v / n of the structure's n voxels, where v =
    max(1, round(100 / voxel volume)), half to even, is the number of voxels in 0.1 cc; with v > n, where the code of
    the challenge raises, it is percentile 0. Source: Babier et al. 2021, doi 10.1002/mp.14845;
    ``dose_evaluation_class.py`` of ``ababier/open-kbp``.

    Args:
        dose: in Gy, ``[D, *spatial]``, such as reference and prediction.
        structures: ``[S, *spatial]``, above 0.5 is inside; a channel with any NaN is unknown.
        names: of the S structures.
        voxel_volume: in mm^3.

    Returns:
        ``[D, M]`` float64 in Gy, columns as :py:func:`dvh_columns` gives them; NaN where a structure is unknown or
        empty, or dose in it is NaN.

    Raises:
        DataError: when shapes do not fit or the voxel volume is not a positive number.
    """
    values = [
        _structure_metrics(inside, _is_target(name), voxel_volume)
        for name, inside in zip(names, doses_in_structures(dose, structures, names, voxel_volume), strict=True)
    ]
    return torch.from_numpy(np.concatenate(values, axis=1))


def doses_in_structures(
    dose: torch.Tensor, structures: torch.Tensor, names: Sequence[str], voxel_volume: float
) -> list[np.ndarray]:
    """Doses of the voxels of each structure, ``[D, n]``; n is 0 where a structure is unknown or empty.

    Args:
        dose: ``[D, *spatial]``.
        structures: ``[S, *spatial]``, above 0.5 is inside; a channel with any NaN is unknown.
        names: of the S structures.
        voxel_volume: in mm^3.

    Raises:
        DataError: when shapes do not fit or the voxel volume is not a positive number.
    """
    if dose.shape[1:] != structures.shape[1:] or len(structures) != len(names):
        raise DataError(
            f"DVH: dose {list(dose.shape)} and structures {list(structures.shape)} need one grid, and a "
            f"channel for each of the {len(names)} names."
        )
    if not (math.isfinite(voxel_volume) and voxel_volume > 0):
        raise DataError(f"DVH: the voxel volume is {voxel_volume} mm^3; give the spacing in mm.")
    # On the CPU, NumPy finds and sorts the few voxels of a structure ten times as fast as torch does.
    voxels = math.prod(dose.shape[1:])
    doses = as_plain_array(dose).reshape(len(dose), voxels)
    found = []
    for channel in as_plain_array(structures).reshape(len(structures), voxels):
        # One pass over the volume: NaN is not at most 0.5 either, so a look at the few voxels found tells it.
        inside = np.flatnonzero(~(channel <= 0.5)) if not np.isnan(channel[:1]).any() else None
        known = inside is not None and not np.isnan(channel[inside]).any()
        found.append(doses[:, inside if known else np.empty(0, dtype=np.intp)])
    return found


def as_plain_array(x: torch.Tensor) -> np.ndarray:
    """A tensor, with metadata or not, as a NumPy array of at least single precision."""
    # Half precision has too few digits for a dose, and NumPy knows no bfloat16.
    volume = torch.as_tensor(x).detach().as_subclass(torch.Tensor).cpu()
    return volume.to(torch.promote_types(volume.dtype, torch.float32)).numpy()


class DVHScore(GatheredMetric):
    """DVH score: mean of \\|reference - prediction\\| over every DVH metric of every patient, in Gy.

    Structures are the reference's for both doses; the predicted dose is set to 0 outside the mask. What is unknown adds
    nothing; where the prediction is NaN in a known structure the error is infinite.

    By hand, ``metric(y_pred, y, structures=structures, mask=mask, spacing=spacing)`` with batch-first tensors or lists
    of channel-first tensors, ``mask`` being optional. In an engine ``y`` is a list of dictionaries, one a case, that is
    the decollated output as it is:

    .. code-block:: python

        IgniteMetricHandler(
            metric_fn=DVHScore(names),
            output_transform=lambda output: (from_engine("predicted_dose")(output), output),
        )

    ``spacing`` is in mm, one for all or one a case; without it the affine of the prediction, a MetaTensor, gives the
    volume of a voxel (``Invertd`` and ``SplitOutputsd`` keep it right).

    Args:
        names: of the structures, in the order of the channels.
        dose_key: key of the reference dose in the dictionaries.
        structures_key: key of the reference structures.
        mask_key: key of the mask of possible dose; None: the prediction is taken as it is.

    Attributes:
        columns: (structure, metric) of each column of the buffer: ``get_buffer()`` is ``[patients, M]``.
    """

    def __init__(
        self,
        names: Sequence[str],
        dose_key: str = "reference_dose",
        structures_key: str = "reference_segmentation",
        mask_key: str | None = "reference_mask",
    ) -> None:
        super().__init__()
        self.structures = list(names)
        self.columns = dvh_columns(self.structures)
        self.keys = {"y": dose_key, "structures": structures_key, "mask": mask_key}

    def _compute_list(  # type: ignore[override]
        self, y_pred: Sequence[torch.Tensor], y: Sequence[Any] | None = None, spacing: Any = None, **kwargs: Any
    ) -> torch.Tensor:
        cases = take_reference("DVHScore", self.keys, y_pred, y, **kwargs)
        spacings = prepare_spacing(spacing, len(cases), 3)
        return torch.stack(
            [self._row(p, **case, spacing=s) for p, case, s in zip(y_pred, cases, spacings, strict=True)]
        )

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        return self._compute_list(list(y_pred), y, **kwargs)  # type: ignore[arg-type]

    def _row(
        self,
        y_pred: torch.Tensor,
        y: torch.Tensor,
        structures: torch.Tensor | None,
        mask: torch.Tensor | None,
        spacing: Any,
    ) -> torch.Tensor:
        if structures is None:
            raise DataError("DVHScore needs the reference structures: metric(y_pred, y, structures=structures).")
        if y_pred.shape != y.shape or len(y) != 1 or (mask is not None and mask.shape != y.shape):
            found = [list(x.shape) for x in (y_pred, y, mask) if x is not None]
            raise DataError(
                f"DVHScore: predicted and reference dose, and mask, of a case must all be [1, spatial ...], not "
                f"{found}; bring them to one grid."
            )
        prediction = zero_outside(y_pred, mask)
        dose = torch.cat([zero_outside(y, None).to(prediction.device), prediction])
        reference, predicted = compute_dvh_metrics(dose, structures, self.structures, _voxel_volume(y_pred, spacing))
        error = (reference - predicted).abs()
        return torch.where(error.isnan() & ~reference.isnan(), torch.inf, error)

    def aggregate(self, reduction: str = "mean") -> torch.Tensor:
        """Reduce what was accumulated; NaN is left out, and a mean of nothing is NaN.

        Args:
            reduction: "mean": the DVH score, one flat mean over patients and metrics, as in the challenge;
                "mean_batch": mean over patients of each metric, ``[M]`` in the order of ``columns``.

        Raises:
            ConfigError: when there is no such reduction.
            DataError: when nothing was scored.
        """
        data = self.get_buffer()
        if data is None:
            raise DataError("DVHScore: no case was scored; check the data list of the evaluation.")
        if reduction not in ("mean", "mean_batch"):
            raise ConfigError(f"DVHScore: reduction must be 'mean' or 'mean_batch', not {reduction!r}.")
        return data.nanmean(0) if reduction == "mean_batch" else data.nanmean()


def dose_at_volume(doses: ArrayLike, percent: float) -> float:
    """D_x%: the dose that at least ``percent`` of a structure's volume receive.

    Args:
        doses: of the structure's voxels, any shape; none: NaN.
        percent: of the volume, 0 (maximum dose) to 100 (minimum dose).
    """
    values = np.asarray(doses, dtype=np.float64).ravel()
    return float(np.percentile(values, 100 - percent)) if values.size else math.nan


def volume_at_dose(doses: ArrayLike, gray: float) -> float:
    """V_x: how many per cent of a structure's volume receive at least ``gray`` Gy.

    Args:
        doses: of the structure's voxels in Gy, any shape; none: NaN.
        gray: dose in Gy.
    """
    return float(100 * dvh_curve(doses, [gray])[0])


def dvh_curve(doses: ArrayLike, edges: ArrayLike) -> np.ndarray:
    """Cumulative DVH: the fraction (0 to 1) of a structure's volume that receives at least each dose.

    Args:
        doses: of the structure's voxels in Gy, any shape.
        edges: doses in Gy, ``[E]``, in any order.

    Returns:
        ``[E]`` float64; NaN when there are no voxels or any dose is NaN.
    """
    values = np.sort(np.asarray(doses).ravel())
    points = np.asarray(edges, dtype=np.float64)
    if not values.size or np.isnan(values[-1]):  # NaN sorts last
        return np.full(points.shape, np.nan)
    return 1 - np.searchsorted(values, points, side="left") / values.size


def _is_target(name: str) -> bool:
    return name.startswith(TARGET_PREFIX)


def _structure_metrics(values: np.ndarray, target: bool, voxel_volume: float) -> np.ndarray:
    """Metrics of one structure, ``[D, 3]`` or ``[D, 2]``, from the doses of its voxels, ``[D, n]``."""
    count, n = values.shape
    columns = len(TARGET_PERCENTILES if target else ORGAN_METRICS)
    if n == 0:
        return np.full((count, columns), np.nan)
    mean = values.mean(1, dtype=np.float64)
    ordered = np.sort(values, 1)
    if target:
        metrics = [_percentile(ordered, q) for q in TARGET_PERCENTILES.values()]
    else:
        hot_voxels = max(1, round(100 / voxel_volume))
        metrics = [_percentile(ordered, max(0.0, 100 - hot_voxels / n * 100)), mean]
    # NaN sorts last, where a low percentile would not see it.
    return np.where(np.isnan(mean)[:, None], np.nan, np.stack(metrics, 1))


def _percentile(ordered: np.ndarray, q: float) -> np.ndarray:
    # np.percentile would sort anew at every call.
    position = q / 100 * (ordered.shape[1] - 1)
    below = math.floor(position)
    above = min(below + 1, ordered.shape[1] - 1)
    low, high = ordered[:, [below, above]].astype(np.float64).T
    return low + (position - below) * (high - low)


def _voxel_volume(dose: torch.Tensor, spacing: Any) -> float:
    if spacing is not None:
        return float(np.prod(np.broadcast_to(np.asarray(spacing, dtype=np.float64), 3)))
    if not isinstance(dose, MetaTensor):
        raise DataError(
            "DVHScore: the volume of a voxel is not known; give spacing=[...] in mm, or the predicted dose as a "
            "MetaTensor whose affine is in mm."
        )
    return float(dose.affine[:3, :3].double().det().abs())
