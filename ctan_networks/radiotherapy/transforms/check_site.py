# SPDX-License-Identifier: Apache-2.0
"""Whether a CT shows the part of the body that a network was trained on."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from ctan_networks.errors import ConfigError, DataError

__all__ = ["CheckSited"]


class CheckSited(MapTransform):
    """Refuse a case whose body has nowhere the girth of the site that a network was trained on.

    A network contours organs and predicts a dose in whatever it is given. A neck is thinner than a chest or a pelvis:
    what has no such slices is none. It tells no neck from a thigh, and no head from a phantom.

    Args:
        keys: masks of the body, ``[1, *spatial]``, MetaTensor, the last axis along the body.
        cross_section: smallest and largest area of a slice through the site, in cm^2.
        length: how much of the body must have it, in mm.
        site: what the network was trained on, as the message calls it.
        enabled: False: do nothing.

    Raises:
        ConfigError: when the range of areas is empty.
        DataError: when a case has less of the site than ``length``.

    """

    def __init__(
        self,
        keys: KeysCollection,
        cross_section: Sequence[float],
        length: float,
        site: str,
        enabled: bool = True,
    ) -> None:
        super().__init__(keys)
        self.smallest, self.largest = cross_section
        if not 0 <= self.smallest < self.largest:
            raise ConfigError(f"CheckSited: the areas must go up, got {list(cross_section)}.")
        self.length = length
        self.site = site
        self.enabled = enabled

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d) if self.enabled else ():
            body = d[key]
            spacing = body.pixdim.tolist() if isinstance(body, MetaTensor) else [1.0, 1.0, 1.0]
            areas = (torch.as_tensor(body)[0] > 0).sum((0, 1)) * (spacing[0] * spacing[1] / 100)
            inside = int(((areas >= self.smallest) & (areas <= self.largest)).sum())
            if inside * spacing[2] < self.length:
                raise DataError(
                    f"this does not look like a CT of the {self.site}: a cross-section of {self.smallest:g} to"
                    f" {self.largest:g} cm2 is found along {inside * spacing[2]:.0f} mm of the body, {self.length:g} mm"
                    f" are expected (the median is {float(areas[areas > 0].median()) if (areas > 0).any() else 0:.0f}"
                    " cm2). The network knows nothing else. To have its output all the same: --any_site True."
                )
        return d
