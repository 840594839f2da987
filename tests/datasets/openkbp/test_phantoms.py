# SPDX-License-Identifier: Apache-2.0
import json
import os
import shutil
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from ctan_networks.data import phantom_cohort as writer
from ctan_networks.data.phantom_marker import is_phantom, mark_phantom
from ctan_networks.datasets.case_reader import CaseReader
from ctan_networks.datasets.inference_cases import inference_list
from ctan_networks.datasets.openkbp import phantoms as module
from ctan_networks.datasets.openkbp.data_list import openkbp_list
from ctan_networks.datasets.openkbp.files import STRUCTURES, read_voxel_dimensions
from ctan_networks.datasets.openkbp.phantoms import openkbp_cohort
from ctan_networks.errors import ConfigError, DataError

PTVS = ("PTV56", "PTV63", "PTV70")


@pytest.fixture(scope="session")
def cohort(tmp_path_factory):
    return Path(openkbp_cohort(tmp_path_factory.mktemp("phantom"), train=10, validation=2))


@pytest.fixture(scope="session")
def cases(cohort):
    return [load(item) for split in ("train", "validation") for item in openkbp_list(cohort, split)]


def load(item):
    reader = CaseReader()
    case = {key: reader.get_data(reader.read(item[key])) for key in ("image", "segmentation", "dose", "mask")}
    bits, meta = case["segmentation"]
    structures = {name: ((bits >> k) & 1).astype(bool) for k, name in enumerate(STRUCTURES) if meta["present"][k]}
    volumes = {key: case[key][0] for key in ("image", "dose", "mask")}
    return volumes | {"structures": structures, "affine": meta["affine"]}


def hashes(folder):
    return {str(p.relative_to(folder)): sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


def test_layout(cohort):
    assert cohort.name == "provided-data"
    assert [p["case"] for p in openkbp_list(cohort, "train")] == [f"pt_{k}" for k in range(1, 11)]
    assert [p["case"] for p in openkbp_list(cohort.parent, "validation")] == ["pt_201", "pt_202"]
    allowed = {f"{name}.csv" for name in (*STRUCTURES, "ct", "dose", "possible_dose_mask", "voxel_dimensions")}
    always = {"ct.csv", "dose.csv", "possible_dose_mask.csv", "voxel_dimensions.csv", "PTV70.csv", "SpinalCord.csv"}
    for item in openkbp_list(cohort, "train"):
        names = set(os.listdir(item["segmentation"]))
        assert always <= names <= allowed
        first = {n: (Path(item["segmentation"]) / n).read_text().split("\n")[:2] for n in names}
        assert all(head == ",data" for n, (head, _) in first.items() if n != "voxel_dimensions.csv")
        assert first["ct.csv"][1].endswith(".0") and first["PTV70.csv"][1].endswith(",")
        assert "e+00" in first["voxel_dimensions.csv"][0]


def test_same_bytes_every_time(cohort, tmp_path):
    again = Path(openkbp_cohort(tmp_path / "again", train=2, validation=1))
    first, second = hashes(cohort), hashes(again)
    assert {k: v for k, v in second.items() if "pt_" in k} == {k: first[k] for k in second if "pt_" in k}
    other = Path(openkbp_cohort(tmp_path / "other", train=1, validation=0, seed=1))
    assert (other / "train-pats/pt_1/ct.csv").read_bytes() != (cohort / "train-pats/pt_1/ct.csv").read_bytes()


def test_written_once(tmp_path, monkeypatch):
    folder = openkbp_cohort(tmp_path, train=1, validation=0)
    assert sorted(os.listdir(tmp_path)) == ["provided-data"]
    monkeypatch.setattr(module, "_write_patient", lambda *_: pytest.fail("written again"))
    assert openkbp_cohort(tmp_path, train=1, validation=0) == folder


def test_other_arguments_and_lost_files_write_it_anew(tmp_path):
    folder = Path(openkbp_cohort(tmp_path, train=1, validation=0))
    openkbp_cohort(tmp_path, train=0, validation=1)
    assert [p["case"] for p in inference_list(folder)] == ["pt_201"]
    shutil.rmtree(folder / "validation-pats" / "pt_201")
    openkbp_cohort(tmp_path, train=0, validation=1)
    assert [p["case"] for p in inference_list(folder)] == ["pt_201"]
    assert sorted(os.listdir(tmp_path)) == ["provided-data"]


def test_interrupted_writing_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_dose", fail)
    with pytest.raises(KeyboardInterrupt):
        openkbp_cohort(tmp_path / "root", train=1, validation=0)
    assert os.listdir(tmp_path / "root") == []


def test_two_processes_at_once(tmp_path, monkeypatch):
    """The other process puts its cohort in place while this one still writes."""
    original = writer.mark_phantom

    def overtaken(new, details):
        original(new, details)
        shutil.copytree(new, tmp_path / "provided-data")

    monkeypatch.setattr(writer, "mark_phantom", overtaken)
    openkbp_cohort(tmp_path, train=1, validation=0)
    assert sorted(os.listdir(tmp_path)) == ["provided-data"]


def test_patients_are_never_overwritten(tmp_path):
    patient = tmp_path / "provided-data" / "train-pats" / "pt_1"
    patient.mkdir(parents=True)
    (patient / "ct.csv").write_text(",data\n1,1000.0\n")
    with pytest.raises(DataError, match="no phantoms: not overwritten"):
        openkbp_cohort(tmp_path)
    assert (patient / "ct.csv").exists()


@pytest.mark.parametrize("numbers", [(201, 1), (1, 41), (-1, 1)])
def test_wrong_numbers(tmp_path, numbers):
    with pytest.raises(ConfigError, match="200"):
        openkbp_cohort(tmp_path, *numbers)


def test_marker(cohort, tmp_path):
    for items in (openkbp_list(cohort, "train"), inference_list(cohort), [{"image": [Path(cohort) / "a" / "b.csv"]}]):
        assert is_phantom(items)
    details = json.loads((cohort / "PHANTOM.json").read_text())
    assert details["phantom"] is True and details["seed"] == 0 and "No patient" in details["note"]
    copy = tmp_path / "elsewhere"
    shutil.copytree(cohort / "train-pats" / "pt_1", copy / "pt_1")
    assert not is_phantom(inference_list(copy))
    mark_phantom(copy, {})
    assert is_phantom(inference_list(copy))
    (copy / "PHANTOM.json").write_text("damaged")
    assert is_phantom(inference_list(copy))


def test_marker_goes_by_paths_alone(tmp_path, monkeypatch):
    mark_phantom(tmp_path, {})
    monkeypatch.chdir(tmp_path)
    assert not is_phantom([]) and not is_phantom([{"case": "pt_1", "severity": 1.0, "image": None}])
    assert is_phantom([{"image": "a/ct.csv"}])
    deep = tmp_path / "1/2/3/4/5"
    assert is_phantom([{"image": str(deep / "a.csv")}]) is False and is_phantom([{"image": str(deep)}]) is True


def test_bodies_are_small_and_inside_the_grid(cases):
    for case in cases:
        voxels = np.argwhere(case["image"] > -1024)
        size = np.ptp(voxels, axis=0) + 1
        assert (size >= [28, 40, 36]).all() and (size <= [42, 62, 50]).all()
        assert voxels.min() > 20 and voxels.max() < 108
        assert case["image"].max() < 3072


def test_anatomy(cases):
    for case in cases:
        body = case["image"] > -1024
        at = {n: (case["affine"] @ [*np.argwhere(m).mean(0), 1])[:3] for n, m in case["structures"].items()}
        hu = {n: case["image"][m].mean() for n, m in case["structures"].items()}
        assert all(m.any() and not (m & ~body).any() for m in case["structures"].values())
        assert not any(
            (case["structures"][a] & m).any()
            for a in PTVS
            for n, m in case["structures"].items()
            if a in at and n in PTVS and n != a
        )
        if {"RightParotid", "LeftParotid"} <= at.keys():
            assert at["RightParotid"][0] > at["LeftParotid"][0] + 30
        if "Mandible" in at:
            assert at["Mandible"][1] > at["SpinalCord"][1] + 10 and hu["Mandible"] > 500
        if "Brainstem" in at:
            assert at["Brainstem"][2] > at["SpinalCord"][2] + 20
        if "Esophagus" in at and "Larynx" in at:
            assert at["Esophagus"][2] < at["Larynx"][2]


def test_patients_differ(cohort, cases):
    assert len({tuple(np.argwhere(c["structures"]["PTV70"]).mean(0)) for c in cases}) == len(cases)
    files = cohort.glob("*/*/voxel_dimensions.csv")
    assert len({read_voxel_dimensions(f) for f in files}) > 1
    present = [set(c["structures"]) for c in cases]
    for name in ("PTV63", "Esophagus"):
        assert 0 < sum(name in p for p in present) < len(cases)


def test_dose(cases):
    for case in cases:
        dose, mask = case["dose"], case["mask"] > 0
        assert not dose[~mask].any() and dose.min() >= 0 and 70 < dose.max() < 78
        assert not (mask & (case["image"] == -1024)).any()
        for name, level in zip(PTVS, (56, 63, 70), strict=True):
            if name in case["structures"]:
                target = case["structures"][name]
                assert abs(dose[target].mean() - level) < 2, name
                assert np.percentile(dose[target], 5) > 0.85 * level
        target = np.any([case["structures"][n] for n in PTVS if n in case["structures"]], axis=0)
        # In mGy, lower outside the targets than inside, and almost none at the ends of the field.
        np.testing.assert_allclose(dose * 1000, np.round(dose.astype(float) * 1000), atol=0.01)
        assert 3 < dose[mask & ~target].mean() < 30
        slices = np.flatnonzero(mask.any(axis=(0, 1)))
        assert dose[:, :, [slices[0], slices[-1]]].max() < 15


def test_tumour_shows_in_the_ct(cases):
    """The 60 to 140 HU that no other soft tissue has: mostly inside the high-dose targets."""
    inside, outside = [], []
    for case in cases:
        ct = case["image"]
        soft = (ct > 0) & (ct < 160)
        target = case["structures"]["PTV70"]
        middle = target.any(axis=(0, 1))[None, None] & soft
        bright = ct > 80
        inside.append(bright[middle & target].mean())
        outside.append(bright[middle & ~target].mean())
    assert np.mean(inside) > 0.25 and np.mean(inside) > 3 * np.mean(outside)


@pytest.mark.realdata
def test_like_patients(real_data, cases):
    """Statistics that a model's loss sees: dose in and around the targets, HU of organs."""
    patients = [load(item) for item in openkbp_list(real_data, "validation")[:12]]

    def summary(group):
        values = {
            name: np.nanmean([c["dose"][c["structures"][name]].mean() for c in group if name in c["structures"]])
            for name in PTVS
        }
        values["in the mask"] = np.mean([c["dose"][c["mask"] > 0].mean() for c in group])
        values["parotid HU"] = np.mean(
            [np.median(c["image"][c["structures"]["LeftParotid"]]) for c in group if "LeftParotid" in c["structures"]]
        )
        values["cord HU"] = np.mean(
            [np.median(c["image"][c["structures"]["SpinalCord"]]) for c in group if "SpinalCord" in c["structures"]]
        )
        return values

    real, phantom = summary(patients), summary(cases)
    for name, tolerance in {
        "PTV56": 6,
        "PTV63": 6,
        "PTV70": 4,
        "in the mask": 10,
        "parotid HU": 40,
        "cord HU": 40,
    }.items():
        assert abs(real[name] - phantom[name]) < tolerance, (name, real, phantom)
