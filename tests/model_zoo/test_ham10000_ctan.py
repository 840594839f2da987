# SPDX-License-Identifier: Apache-2.0
"""ham10000_ctan in the form of a Model Zoo unit test (``ci/unit_tests/test_ham10000_ctan.py`` there)."""

from __future__ import annotations

import unittest
from pathlib import Path

from ctan_networks.datasets.ham10000.phantoms import ham10000_cohort
from tests.model_zoo.zoo import BundleCase


class TestHAM10000(BundleCase):
    name = "ham10000_ctan"
    override = {"network_def#channels": [16, 16, 16], "image_size": [32, 32]}  # noqa: RUF012
    training = {"batch_size": 8}  # noqa: RUF012
    results = ("*_segmentation.png", "diagnosis.csv", "*_result.json")

    def make_data(self, folder: Path) -> str:
        return ham10000_cohort(folder, lesions=28)

    def test_train_evaluate_and_infer(self) -> None:
        self.run_all()


if __name__ == "__main__":
    unittest.main()
