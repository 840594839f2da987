# SPDX-License-Identifier: Apache-2.0
"""Write a phantom cohort."""

from __future__ import annotations

from typing import Any

from ctan_networks.datasets.ham10000.phantoms import ham10000_cohort
from ctan_networks.datasets.openkbp.phantoms import openkbp_cohort
from ctan_networks.datasets.prostate.phantoms import prostate_cohort
from ctan_networks.datasets.stoic.phantoms import stoic_cohort
from ctan_networks.errors import ConfigError

__all__ = ["phantoms"]

COHORTS: dict[str, Any] = {
    "openkbp": openkbp_cohort,
    "prostate": prostate_cohort,
    "ham10000": ham10000_cohort,
    "stoic": stoic_cohort,
}


def phantoms(output_dir: str, dataset: str = "openkbp", seed: int = 0, **sizes: int) -> str:
    """Write a phantom cohort in a data set's own on-disk format and return the ``dataset_dir`` of its bundle.

    Args:
        output_dir: folder to write to.
        dataset: "openkbp", "prostate", "ham10000" or "stoic".
        seed: the same seed gives the same bytes.
        sizes: of the cohort: ``train``, ``validation`` (openkbp), ``lesions`` (ham10000), ``patients`` (prostate,
            stoic).

    Raises:
        ConfigError: when there is no such data set or size.

    """
    if dataset not in COHORTS:
        raise ConfigError(f"no phantoms of {dataset!r}: there are {', '.join(COHORTS)}.")
    try:
        return COHORTS[dataset](output_dir, seed=seed, **sizes)
    except TypeError as error:
        raise ConfigError(f"phantoms of {dataset}: {error}.") from error
