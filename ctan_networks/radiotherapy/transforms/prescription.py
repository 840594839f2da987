# SPDX-License-Identifier: Apache-2.0
"""Doses of patients with different prescriptions, on one scale."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform

from ctan_networks.errors import DataError

__all__ = ["PrescribedDosed"]


class PrescribedDosed(MapTransform):
    """Scale a dose as if every patient had the same prescription.

    The shape of a dose distribution depends little on its level: a network that learns dose at one prescription serves
    another one by scaling its output back (``DoseInGrayd(unit_key=...)``).

    Args:
        keys: dose in Gy.
        prescription: in Gy, to which doses are scaled.
        prescription_key: key of the patient's prescription in Gy.
        allow_missing_keys: go on when a dose is not there.

    Raises:
        DataError: when a patient with a dose has no prescription above 0.

    """

    def __init__(
        self,
        keys: KeysCollection,
        prescription: float,
        prescription_key: str = "prescription",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.prescription = prescription
        self.prescription_key = prescription_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            own = float(d.get(self.prescription_key) or 0)
            if not own > 0:
                raise DataError(
                    f"case {d.get('case', '?')}: a dose without prescription. Give it in Gy, as --prescription 78."
                )
            d[key] = d[key] * (self.prescription / own)
        return d
