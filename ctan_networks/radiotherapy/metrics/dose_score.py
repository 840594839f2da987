# SPDX-License-Identifier: Apache-2.0
"""Dose score of the OpenKBP challenge: mean absolute dose error per voxel in which dose is possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ctan_networks.errors import DataError
from ctan_networks.metrics.gathering import GatheredMetric

__all__ = ["DoseScore", "compute_dose_score", "take_reference", "zero_outside"]


def compute_dose_score(y_pred: torch.Tensor, y: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Dose error of each case in Gy.

    Sum over all voxels of \\|reference - prediction\\|, the prediction being zero outside the mask, divided by the
    number of voxels in the mask; in float64. Reference dose outside the mask counts as error, as in the challenge.
    Voxels whose reference is unknown count for nothing.
    Source: Babier et al. 2021, doi 10.1002/mp.14845; ``dose_evaluation_class.py`` of ``ababier/open-kbp``.

    Args:
        y_pred: predicted dose in Gy, ``[B, 1, *spatial]``.
        y: reference dose in Gy of the same shape; NaN where unknown.
        mask: where dose is possible (above 0), of the same shape. None: everywhere, so that the score is the mean
            absolute error over the whole grid, air included, which is not comparable with OpenKBP's.

    Returns:
        ``[B, 1]`` float64, lower is better. NaN where all of the reference is unknown; infinite where the prediction is
        NaN, so that a broken network never passes for an unknown reference.

    Raises:
        DataError: when shapes differ or the mask of a case with a known reference is empty.
    """
    _check_shapes(y_pred, y, mask)
    reference = _plain(y).double()
    counted = torch.ones_like(reference, dtype=torch.bool) if mask is None else _plain(mask).to(reference.device) > 0
    prediction = zero_outside(y_pred, mask).to(reference)
    # A NaN anywhere makes the sum NaN, which is cheaper than a search.
    if bool(reference.sum().isnan()):
        unknown = reference.isnan()
        known = ~unknown.flatten(1).all(1)
        counted = counted & ~unknown
        # The same on both sides: no error.
        reference, prediction = (dose.masked_fill(unknown, 0) for dose in (reference, prediction))
    else:
        known = torch.ones(len(reference), dtype=torch.bool, device=reference.device)
    voxels = counted.flatten(1).sum(1).double()
    empty = (known & (voxels == 0)).nonzero().flatten().tolist()
    if empty:
        raise DataError(
            f"dose score: empty mask of possible dose in case {empty} of the batch; correct or leave it out."
        )
    error = (reference - prediction).abs_().flatten(1).sum(1) / voxels
    error = torch.where(error.isnan(), torch.inf, error)
    return torch.where(known, error, torch.nan)[:, None]


class DoseScore(GatheredMetric):
    """Dose score: mean over patients of :py:func:`compute_dose_score`, in Gy; unknown references are left out.

    By hand, ``metric(y_pred, y, mask=mask)`` with batch-first tensors or lists of channel-first tensors. In an engine
    ``y`` is a list of dictionaries, one a case, which hold the reference and the mask under ``dose_key`` and
    ``mask_key``. So the engine's own decollated output serves as it is, because MONAI's handler passes two things:

    .. code-block:: python

        IgniteMetricHandler(
            metric_fn=DoseScore(),
            output_transform=lambda output: (from_engine("predicted_dose")(output), output),
        )

    Args:
        dose_key: key of the reference dose in the dictionaries.
        mask_key: key of the mask of possible dose; None: the whole grid.
    """

    def __init__(self, dose_key: str = "reference_dose", mask_key: str | None = "reference_mask") -> None:
        super().__init__()
        self.keys = {"y": dose_key, "mask": mask_key}

    def _compute_list(  # type: ignore[override]
        self, y_pred: Sequence[torch.Tensor], y: Sequence[Any] | None = None, **kwargs: Any
    ) -> torch.Tensor:
        cases = take_reference("DoseScore", self.keys, y_pred, y, **kwargs)
        rows = [
            compute_dose_score(p[None], case["y"][None], None if case["mask"] is None else case["mask"][None])
            for p, case in zip(y_pred, cases, strict=True)
        ]
        return torch.cat(rows)

    def _compute_tensor(  # type: ignore[override]
        self, y_pred: torch.Tensor, y: torch.Tensor | None = None, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        if y is None:
            raise DataError("DoseScore needs a reference dose: metric(y_pred, y, mask=mask).")
        return compute_dose_score(y_pred, y, mask)

    def aggregate(self) -> torch.Tensor:
        """Mean over the patients with a known reference; NaN when there is none.

        Raises:
            DataError: when nothing was scored.
        """
        data = self.get_buffer()
        if data is None:
            raise DataError("DoseScore: no case was scored; check the data list of the evaluation.")
        return data.nanmean()


def zero_outside(dose: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """The dose as a plain tensor, 0 (whatever it was, NaN too) where the mask is not above 0."""
    plain = _plain(dose)
    if mask is None:
        return plain
    return torch.where(_plain(mask).to(plain.device) > 0, plain, plain.new_zeros(()))


def take_reference(
    metric: str, keys: Mapping[str, str | None], y_pred: Sequence[torch.Tensor], y: Sequence[Any] | None, **kwargs: Any
) -> list[dict[str, Any]]:
    """What a metric needs of each case besides the prediction, from dictionaries or from separate lists.

    Args:
        metric: name for messages.
        keys: argument name to key in the dictionaries; None: not asked for.
        y_pred: predictions, one a case.
        y: one dictionary a case, or one tensor a case, the others standing in ``kwargs``.
        kwargs: lists or batch-first tensors by argument name; may be absent or None.

    Raises:
        DataError: when a case lacks a key, lists differ in length, or an argument is not known.
    """
    given = {name: values for name, values in {"y": y, **kwargs}.items() if values is not None}
    unknown = sorted(set(given) - set(keys))
    if unknown:
        raise DataError(f"{metric}: unexpected argument {', '.join(unknown)}; it takes {', '.join(keys)}.")
    lengths = {name: len(values) for name, values in given.items()}
    if y is None or set(lengths.values()) != {len(y_pred)}:
        raise DataError(
            f"{metric}: {len(y_pred)} predictions, but {lengths or 'no reference'}; give one of each a case."
        )
    cases = []
    for i, item in enumerate(y):
        if not isinstance(item, Mapping):
            cases.append({name: given[name][i] if name in given else None for name in keys})
            continue
        missing = [key for key in keys.values() if key is not None and item.get(key) is None]
        if missing:
            raise DataError(
                f"{metric}: case {item.get('case', i)} has no {' and no '.join(missing)}; "
                "name the right key in the metric's arguments."
            )
        cases.append({name: None if key is None else item[key] for name, key in keys.items()})
    return cases


def _plain(x: torch.Tensor) -> torch.Tensor:
    # MetaTensor's own bookkeeping costs more than the arithmetic.
    return torch.as_tensor(x).detach().as_subclass(torch.Tensor)


def _check_shapes(y_pred: torch.Tensor, y: torch.Tensor, mask: torch.Tensor | None) -> None:
    shapes = {"prediction": y_pred.shape, "reference": y.shape, **({} if mask is None else {"mask": mask.shape})}
    if len(set(shapes.values())) > 1 or y.ndim < 3 or y.shape[1] != 1:
        found = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise DataError(
            f"dose score: all must have one shape [batch, 1, spatial ...]: {found}; bring them to one grid."
        )
