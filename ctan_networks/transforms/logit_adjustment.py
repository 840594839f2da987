# SPDX-License-Identifier: Apache-2.0
"""Class logits without the preference for what was frequent in training."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from ctan_networks.errors import ConfigError

__all__ = ["LogitAdjustmentd"]


class LogitAdjustmentd(MapTransform):
    """Subtract ``tau * log(prior)`` from class logits: after softmax, probabilities divided by ``prior ** tau``.

    Post-hoc logit adjustment (Menon et al., ICLR 2021, arXiv 2007.07314, sec. 4.1). With ``tau`` 1 and a network that
    was trained without class weights, the class that comes out is the best one by balanced accuracy; probabilities are
    then those for classes that are all as frequent. Where a loss with class weights, or sampling, has balanced the
    classes in part, less is right: choose ``tau`` on validation cases.

    Args:
        keys: class logits, ``[classes]``.
        prior: share of each class in the training data, more than 0.
        tau: strength; 0 changes nothing.
        allow_missing_keys: whether keys may be missing.

    Raises:
        ConfigError: when the prior is not known or a share is not positive, or ``tau`` is negative.

    """

    def __init__(
        self, keys: KeysCollection, prior: Sequence[float] | None, tau: float = 1.0, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if tau < 0:
            raise ConfigError(f"logit_adjustment must be at least 0, got {tau}.")
        if prior is None:
            raise ConfigError(
                "the weights do not say how frequent the classes were in training (model.json beside them): give"
                " --prior, one share for each class, or leave --logit_adjustment out."
            )
        shares = torch.as_tensor(list(prior), dtype=torch.float64)
        if not bool((shares > 0).all()):
            raise ConfigError(f"the share of each class must be more than 0, got {list(prior)}.")
        self.shift = tau * (shares / shares.sum()).log()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """
        Raises:
            ConfigError: when the logits are not as many as the shares.
        """
        d = dict(data)
        for key in self.key_iterator(d):
            logits = torch.as_tensor(d[key])
            if logits.shape[0] != len(self.shift):
                raise ConfigError(f"{key} has {logits.shape[0]} classes, the prior {len(self.shift)}.")
            d[key] = logits - self.shift.to(logits).reshape(-1, *[1] * (logits.ndim - 1))
        return d
