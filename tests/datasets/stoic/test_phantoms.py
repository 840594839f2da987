# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from monai.data import ITKReader
from sklearn.metrics import roc_auc_score

from ctan_networks.data.phantom_marker import is_phantom
from ctan_networks.datasets.stoic.data_list import stoic_list
from ctan_networks.datasets.stoic.phantoms import stoic_cohort, write_mha
from ctan_networks.errors import ConfigError, DataError

pytest.importorskip("itk")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return Path(stoic_cohort(tmp_path_factory.mktemp("stoic"), patients=40))


def test_layout_is_the_published_one(cohort):
    table = pd.read_csv(cohort / "metadata" / "reference.csv", dtype=str)
    assert list(table) == ["PatientID", "probCOVID", "probSevere"]
    assert {p.stem for p in (cohort / "data" / "mha").glob("*.mha")} == set(table["PatientID"])
    assert set(table["probCOVID"]) == set(table["probSevere"]) == {"0", "1"}
    assert not ((table["probCOVID"] == "0") & (table["probSevere"] == "1")).any()
    assert (table["probCOVID"] == "1").sum() == 24 and (table["probSevere"] == "1").sum() == 10
    items = stoic_list(cohort)
    assert len(items) == 40 and all({"age", "sex", "covid"} <= item.keys() for item in items) and is_phantom(items)


def test_itk_reads_what_was_written(tmp_path):
    volume = np.random.default_rng(0).integers(-1024, 3071, (7, 5, 3)).astype(np.int16)
    write_mha(tmp_path / "a.mha", volume, (1.5, 2.0, 3.0), (-10.0, 20.0, 5.5), {"PatientSex": "F"})
    reader = ITKReader()
    array, meta = reader.get_data(reader.read(str(tmp_path / "a.mha")))
    np.testing.assert_array_equal(array, volume)
    # RAS: the first two axes turned round.
    expected = np.diag([-1.5, -2.0, 3.0, 1.0])
    expected[:3, 3] = (10.0, -20.0, 5.5)
    np.testing.assert_allclose(meta["affine"], expected)


def test_the_same_arguments_give_the_same_bytes(tmp_path):
    a, b, c = (Path(stoic_cohort(tmp_path / n, patients=2, seed=s)) for n, s in (("a", 0), ("b", 0), ("c", 1)))
    read = [{str(p.relative_to(f)): p.read_bytes() for p in f.rglob("*") if p.is_file()} for f in (a, b, c)]
    assert read[0] == read[1] != read[2]
    with pytest.raises(ConfigError, match="at least one"):
        stoic_cohort(tmp_path, patients=0)
    (tmp_path / "stoic2021").mkdir()
    with pytest.raises(DataError, match="no phantoms"):
        stoic_cohort(tmp_path, patients=2)


def test_opacities_tell_both_labels_and_mean_density_does_not(cohort):
    """Ground glass (-700 to -200 HU) in the lungs separates; the mean HU of the picture separates much less."""
    reader, glass, mean, covid, severe = ITKReader(), [], [], [], []
    for item in stoic_list(cohort):
        volume, _ = reader.get_data(reader.read(item["image"]))
        lungs = volume[12:68, 12:50] if volume.ndim == 3 else volume
        glass.append(((lungs > -700) & (lungs < -200)).mean())
        mean.append(volume.mean())
        covid.append(item["covid"])
        severe.append(item.get("severity", -1))
    covid, severe, glass, mean = (np.array(v) for v in (covid, severe, glass, mean))
    known = severe >= 0
    assert roc_auc_score(covid, glass) > 0.85 and roc_auc_score(severe[known], glass[known]) > 0.85
    assert abs(roc_auc_score(covid, mean) - 0.5) < 0.35
