# SPDX-License-Identifier: Apache-2.0
"""Moment loss: agreement of generalised mean doses, a differentiable summary of a DVH."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from ctan_networks.errors import ConfigError
from ctan_networks.losses.over_ranks import mean_count

__all__ = ["MomentLoss", "generalised_mean_doses"]

# Smallest dose, as a fraction of the unit, that enters a power: logarithms and negative exponents need one.
FLOOR = 1e-3


def generalised_mean_doses(
    dose: torch.Tensor, structure: torch.Tensor, exponents: Sequence[float], floor: float = FLOOR
) -> torch.Tensor:
    """Generalised mean doses of a structure, ``(mean of d^a)^(1/a)``.

    This is the generalised equivalent uniform dose of Niemierko (Med Phys 1999, 26(6):1100): a = 1 is the mean dose,
    large a tends to the maximum, large negative a to the minimum. Together, several of them determine the shape of
    the DVH.

    Args:
        dose: ``[N]``, or any shape.
        structure: bool, of the same shape: the voxels that belong to the structure; at least one.
        exponents: a, none of them 0.
        floor: doses below it count as it.

    Returns:
        ``[len(exponents)]``, in the unit of the dose.

    Examples:
        >>> import torch
        >>> dose = torch.tensor([0.0, 1.0, 3.0])
        >>> generalised_mean_doses(dose, dose > 0.5, [1, 2])
        tensor([2.0000, 2.2361])

    """
    # Powers of small and of large doses overflow float32; their logarithms do not.
    logs = dose[structure].clamp(min=floor).log()
    count = math.log(logs.numel())
    return torch.stack([((torch.logsumexp(a * logs, 0) - count) / a).exp() for a in exponents])


class MomentLoss(nn.Module):
    """Mean over structures of the squared difference of generalised mean doses.

    For each structure the loss is the mean over its exponents of ``(D_a(input) - D_a(target))^2``, where ``D_a`` is
    :py:func:`generalised_mean_doses` of the voxels inside; the loss is the mean over the structures present in the
    batch. Structures that are unknown (a channel with NaN), empty, or in a case without dose add nothing.

    Args:
        exponents: structure name, in the order of the channels, to its exponents. Usual are small, positive and
            negative ones for targets, 5 to 10 for serial organs (their maximum counts), 1 and 2 for parallel ones
            (their mean counts); an empty list leaves a structure out.
        scale: Gy (or any unit of the target) for one unit of the prediction.

    Raises:
        ConfigError: when an exponent is 0 or no structure has any.

    """

    def __init__(self, exponents: Mapping[str, Sequence[float]], scale: float = 1.0) -> None:
        super().__init__()
        if scale <= 0:
            raise ConfigError(f"MomentLoss: scale must be > 0, got {scale}.")
        wrong = [name for name, values in exponents.items() if any(a == 0 or not math.isfinite(a) for a in values)]
        if wrong or not any(exponents.values()):
            raise ConfigError(
                f"MomentLoss: exponents must be finite numbers other than 0: {', '.join(wrong) or 'none'}."
            )
        self.exponents = {name: tuple(float(a) for a in values) for name, values in exponents.items()}
        self.scale = scale

    def forward(self, input: torch.Tensor, target: torch.Tensor, structures: torch.Tensor) -> torch.Tensor:
        """Compute the loss.

        Args:
            input: dose in units of ``scale``, ``[B, 1, *spatial]``.
            target: reference dose, e.g. in Gy, of the same shape; NaN where unknown.
            structures: masks ``[B, S, *spatial]``, above 0.5 is inside; a channel with NaN is unknown.

        Returns:
            scalar, in squared units of ``scale``; 0, with a graph, where no structure is known.

        Raises:
            ConfigError: when the shapes do not fit.

        """
        fits = input.shape == target.shape and input.shape[1] == 1 and structures.shape[2:] == input.shape[2:]
        if not fits or structures.shape[:2] != (len(input), len(self.exponents)):
            raise ConfigError(
                f"MomentLoss: prediction {tuple(input.shape)}, dose {tuple(target.shape)} and structures"
                f" {tuple(structures.shape)} do not fit: one channel of dose, {len(self.exponents)} structures and one"
                " grid are needed."
            )
        prediction = input.as_subclass(torch.Tensor)
        prediction = prediction.to(torch.promote_types(prediction.dtype, torch.float32))
        reference = target.as_subclass(torch.Tensor).to(prediction.dtype) / self.scale
        masks = structures.as_subclass(torch.Tensor)
        total, count = prediction[:0].sum(), 0
        for b in range(len(prediction)):
            for s, exponents in enumerate(self.exponents.values()):
                inside = masks[b, s] > 0.5
                if not exponents or bool(masks[b, s].isnan().any()) or not bool(inside.any()):
                    continue
                if bool(reference[b, 0][inside].isnan().any()):
                    continue
                difference = generalised_mean_doses(prediction[b, 0], inside, exponents) - generalised_mean_doses(
                    reference[b, 0], inside, exponents
                )
                total, count = total + difference.square().mean(), count + 1
        shared = mean_count(total.new_tensor(float(count)), self.training)
        return total / shared if count else total
