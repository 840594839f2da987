# SPDX-License-Identifier: Apache-2.0
"""prostate_ctan in the form of a Model Zoo unit test (``ci/unit_tests/test_prostate_ctan.py`` there)."""

from __future__ import annotations

import unittest
from pathlib import Path

from ctan_networks.datasets.prostate.phantoms import prostate_cohort
from tests.model_zoo.zoo import BundleCase


class TestProstate(BundleCase):
    name = "prostate_ctan"
    override = {"network_def#channels": [4, 8, 12]}  # noqa: RUF012
    training = {"crop_size": [32, 32, 32]}  # noqa: RUF012
    results = ("*/*_structures.nii.gz", "*/*_dose.nii.gz", "*/*_result.json")

    def make_data(self, folder: Path) -> str:
        return prostate_cohort(folder, patients=5)

    def test_train_evaluate_and_infer(self) -> None:
        self.run_all()


if __name__ == "__main__":
    unittest.main()
