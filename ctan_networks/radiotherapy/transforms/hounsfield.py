# SPDX-License-Identifier: Apache-2.0
"""The check that a CT is in Hounsfield units, as a step of the preprocessing."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np
import torch
from monai.transforms import MapTransform

from ctan_networks.radiotherapy.hounsfield import as_hounsfield

__all__ = ["HounsfieldUnitsd"]


class HounsfieldUnitsd(MapTransform):
    """Refuse what is not a CT in Hounsfield units, and turn padding into air.

    See :py:func:`ctan_networks.radiotherapy.hounsfield.as_hounsfield`. Put it right behind the step that loads the CT:
    resampling blurs padding into the patient.

    Args:
        keys: CT, ``[1, *spatial]``.
        allow_missing_keys: do nothing for a case without it.

    Raises:
        DataError: names the file, or the case, and what is wrong.

    """

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        d = dict(data)
        for key in self.key_iterator(d):
            image = d[key]
            where = getattr(image, "meta", {}).get("filename_or_obj") or f"case {d.get('case', '?')}"
            volume = np.asarray(image[0])
            checked = as_hounsfield(volume, where)
            if checked is not volume:
                d[key] = image.clone()
                d[key][0] = torch.from_numpy(checked)
        return d
