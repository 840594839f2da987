# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import balanced_accuracy_score

from ctan_networks.data.phantom_marker import is_phantom
from ctan_networks.datasets.ham10000.data_list import ham10000_list
from ctan_networks.datasets.ham10000.phantoms import ham10000_cohort
from ctan_networks.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return Path(ham10000_cohort(tmp_path_factory.mktemp("ham")))


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_layout_is_the_published_one(cohort):
    table = pd.read_csv(cohort / "HAM10000_metadata.csv", keep_default_na=False)
    assert list(table) == ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization", "dataset"]
    photos = {p.stem: p for p in cohort.glob("HAM10000_images_part_*/*.jpg")}
    assert set(photos) == set(table["image_id"]) and len({p.parent for p in photos.values()}) == 2
    masks = {p.stem.removesuffix("_segmentation"): p for p in cohort.rglob("*_segmentation.png")}
    assert set(masks) < set(photos)
    for name, file in masks.items():
        with Image.open(file) as mask, Image.open(photos[name]) as photo:
            assert mask.size == photo.size and mask.mode == "L" and photo.mode == "RGB"
            assert set(np.unique(mask)) == {0, 255}


def test_labels_are_partial_and_every_class_is_there(cohort):
    items = ham10000_list(cohort)
    assert not any("unusable" in item for item in items)
    with_mask, with_class = (sum(key in item for item in items) for key in ("segmentation", "diagnosis"))
    assert 0.6 < with_mask / len(items) < 0.8 and 0.85 < with_class / len(items) < 0.99
    lesions: dict[int, set[str]] = {}
    for item in items:
        lesions.setdefault(item.get("diagnosis", -1), set()).add(item["group"])
    assert all(len(lesions[k]) >= 15 for k in range(7)) and len(lesions[1]) > 3 * len(lesions[5])
    assert len({item["group"] for item in items}) == 250 < len(items)
    assert is_phantom(items)


def test_the_same_arguments_give_the_same_bytes(tmp_path):
    a, b, c = (Path(ham10000_cohort(tmp_path / n, lesions=9, seed=s)) for n, s in (("a", 0), ("b", 0), ("c", 1)))
    assert content(a) == content(b) != content(c)
    before = {p: p.stat().st_mtime_ns for p in a.rglob("*")}
    ham10000_cohort(tmp_path / "a", lesions=9)
    assert before == {p: p.stat().st_mtime_ns for p in a.rglob("*")}, "written once"
    ham10000_cohort(tmp_path / "a", lesions=5)
    assert len(pd.read_csv(a / "HAM10000_metadata.csv")["lesion_id"].unique()) == 5


def test_wrong_use(tmp_path):
    with pytest.raises(ConfigError, match="at least one"):
        ham10000_cohort(tmp_path, lesions=0)
    (tmp_path / "ham10000").mkdir()
    (tmp_path / "ham10000" / "patient.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match="no phantoms"):
        ham10000_cohort(tmp_path, lesions=2)
    assert (tmp_path / "ham10000" / "patient.jpg").is_file()


def test_the_class_shows_in_the_lesion_and_not_in_the_skin(cohort):
    """Colours inside the mask tell the class far above chance, and not without error; the skin's tell nothing."""
    inside, outside, labels, groups = [], [], [], []
    for item in ham10000_list(cohort):
        if {"segmentation", "diagnosis"} <= item.keys():
            photo = np.asarray(Image.open(item["image"]), float)
            mask = np.asarray(Image.open(item["segmentation"])) > 127
            inside.append([*photo[mask].mean(0), *photo[mask].std(0)])
            outside.append([*photo[~mask].mean(0), *photo[~mask].std(0)])
            labels.append(item["diagnosis"])
            groups.append(int(item["group"][4:]))
    held_out = np.array(groups) % 3 == 0
    scores = []
    for features in (inside, outside):
        model = RandomForestClassifier(100, class_weight="balanced", random_state=0, n_jobs=1)
        model.fit(np.array(features)[~held_out], np.array(labels)[~held_out])
        scores.append(balanced_accuracy_score(np.array(labels)[held_out], model.predict(np.array(features)[held_out])))
    assert 0.5 < scores[0] < 0.99 and scores[1] < 0.35, scores
