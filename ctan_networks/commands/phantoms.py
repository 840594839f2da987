# SPDX-License-Identifier: Apache-2.0
"""Write a phantom cohort."""

from __future__ import annotations

from ctan_networks.phantoms import openkbp_cohort

__all__ = ["phantoms"]


def phantoms(output_dir: str, train: int = 24, validation: int = 6, seed: int = 0) -> str:
    """Write a phantom cohort in OpenKBP's on-disk format and return its ``provided-data`` folder.

    Args:
        output_dir: folder to write to.
        train: patients in train-pats.
        validation: patients in validation-pats.
        seed: the same seed gives the same bytes.

    """
    return openkbp_cohort(output_dir, train=train, validation=validation, seed=seed)
