# SPDX-License-Identifier: Apache-2.0
"""stoic_ctan in the form of a Model Zoo unit test (``ci/unit_tests/test_stoic_ctan.py`` there)."""

from __future__ import annotations

import unittest
from pathlib import Path

from ctan_networks.datasets.stoic.phantoms import stoic_cohort
from tests.model_zoo.zoo import BundleCase


class TestSTOIC(BundleCase):
    name = "stoic_ctan"
    override = {"network_def#channels": [4, 8, 12], "pixdim": [9.0, 9.0, 9.0], "image_size": [40, 32, 40]}  # noqa: RUF012
    training = {"batch_size": 4}  # noqa: RUF012
    results = ("*/probability-covid-19.json", "*/*_result.json")

    def make_data(self, folder: Path) -> str:
        return stoic_cohort(folder, patients=12)

    def test_train_evaluate_and_infer(self) -> None:
        self.run_all()


if __name__ == "__main__":
    unittest.main()
