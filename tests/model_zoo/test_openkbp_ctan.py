# SPDX-License-Identifier: Apache-2.0
"""openkbp_ctan in the form of a Model Zoo unit test (``ci/unit_tests/test_openkbp_ctan.py`` there)."""

from __future__ import annotations

import unittest
from pathlib import Path

from ctan_networks.datasets.openkbp.phantoms import openkbp_cohort
from tests.model_zoo.zoo import BundleCase


class TestOpenKBP(BundleCase):
    name = "openkbp_ctan"
    override = {"network_def#channels": [4, 8, 12]}  # noqa: RUF012
    training = {"crop_size": [32, 32, 32]}  # noqa: RUF012
    results = ("*/*_structures.nii.gz", "*/*_dose.nii.gz", "*/*_result.json", "submission/*.csv")

    def make_data(self, folder: Path) -> str:
        return openkbp_cohort(folder, train=2, validation=1)

    def test_train_evaluate_and_infer(self) -> None:
        self.run_all()


if __name__ == "__main__":
    unittest.main()
