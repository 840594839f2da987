# SPDX-License-Identifier: Apache-2.0
"""One evaluated case, checked: which volumes it has, on which grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.data import MetaTensor

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.metrics.dose_score import zero_outside
from ctan_networks.radiotherapy.transforms.body import body_mask
from ctan_networks.reports.views import display_spacing, to_display

__all__ = ["Case", "read_case"]

# SplitOutputsd names the mask as it names every label.
MASK_KEYS = ("mask", "reference_mask")


class Case(NamedTuple):
    """A case that can be scored.

    Attributes:
        name: of the patient.
        volumes: channel first, on the CPU, under the keys of the item; ``mask`` is there when dose is evaluated. The
            predicted dose is zero outside of it. References in which nothing is known are left out.
        affine: ``[4, 4]``, voxel indices to RAS millimetres.
        given_mask: False when ``mask`` is the body found in the CT, for want of a mask of possible dose.
    """

    name: str
    volumes: dict[str, torch.Tensor]
    affine: np.ndarray
    given_mask: bool


def read_case(item: Mapping[str, Any], tasks: Sequence[str], structures: Sequence[str], image_key: str) -> Case:
    """Check the output of an evaluation for one case and bring it to the CPU.

    Args:
        item: keys as :py:class:`ctan_networks.reports.EvaluationReport` lists them.
        tasks: active tasks; volumes that no active task needs are left out, but for the reference structures.
        structures: names of the channels of the segmentations.
        image_key: key of the CT in HU.

    Raises:
        DataError: when something is missing or does not fit, or nothing is known about the case.
    """
    if "case" not in item:
        raise DataError(
            "EvaluationReport: an output has no key 'case'; keep the patient's name through postprocessing."
        )
    case = str(item["case"])
    image = item.get(image_key)
    if not isinstance(image, MetaTensor):
        raise DataError(
            f"{case}: '{image_key}' must be the CT in HU as a MetaTensor, whose affine gives the orientation."
        )
    affine = image.affine.detach().cpu().numpy().astype(float)
    needed = [f"predicted_{task}" for task in tasks]
    missing = [key for key in needed if item.get(key) is None]
    if missing:
        raise DataError(f"{case}: no {' and no '.join(missing)}; evaluate only the tasks that were predicted.")
    volumes = {"image": _volume(case, image_key, image, 1, None)}
    grid = volumes["image"].shape[1:]
    references = ["reference_segmentation", *(["reference_dose"] if "dose" in tasks else [])]
    for key in [*references, *needed]:
        if item.get(key) is not None:
            volume = _volume(case, key, item[key], len(structures) if key.endswith("segmentation") else 1, grid)
            if key in needed or not bool(volume.isnan().all()):
                volumes[key] = volume
    if not any(f"reference_{task}" in volumes for task in tasks):
        raise DataError(f"{case}: no reference for {' or '.join(tasks)}; leave it out of the evaluation's data list.")
    mask_key = next((key for key in MASK_KEYS if item.get(key) is not None), None)
    if "dose" in tasks:
        volumes["mask"] = (
            _volume(case, mask_key, item[mask_key], 1, grid) if mask_key else _body(volumes["image"], affine)
        )
        if "reference_dose" in volumes:
            # Where the reference is unknown there is nothing to compare.
            volumes["mask"] = volumes["mask"] * ~volumes["reference_dose"].isnan()
        volumes["predicted_dose"] = zero_outside(volumes["predicted_dose"], volumes["mask"])
    for key in needed:
        # The sum is not finite when anything is not, and cheaper than a search. NaN must not pass for unknown.
        if not bool(volumes[key].double().sum().isfinite()):
            raise DataError(f"{case}: '{key}' holds NaN or infinite values; the network or its input is broken.")
    return Case(case, volumes, affine, mask_key is not None)


def _body(image: torch.Tensor, affine: np.ndarray) -> torch.Tensor:
    body = np.zeros(image.shape, np.float32)
    left, posterior, inferior = display_spacing(affine)
    # body_mask wants the slices last, as they are in display orientation; both views write through to their arrays.
    to_display(body, affine)[0] = body_mask(to_display(image.numpy(), affine)[0], (left, posterior, inferior))
    return torch.from_numpy(body)


def _volume(case: str, key: str, value: Any, channels: int, grid: torch.Size | None) -> torch.Tensor:
    # MetaTensor's own bookkeeping costs more than the arithmetic.
    volume = (value.as_tensor() if isinstance(value, MetaTensor) else torch.as_tensor(value)).detach().cpu().float()
    if volume.ndim != 4 or volume.shape[0] != channels or (grid is not None and volume.shape[1:] != grid):
        wanted = [channels, *(grid if grid is not None else "ijk")]
        raise DataError(
            f"{case}: '{key}' has shape {list(volume.shape)}, not {wanted}; bring all volumes to the grid of the image."
        )
    return volume
