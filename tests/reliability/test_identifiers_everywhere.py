# SPDX-License-Identifier: Apache-2.0
"""Marked files of every kind through training, evaluation, inference and the commands: what is written and said."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from bundle_runs import ROOT, bundle_run, run, trained
from markers import MARKS, find_marks, mark_dicom, mark_itk, mark_photo
from PIL import Image

from ctan_networks.datasets.case_reader import CaseReader
from ctan_networks.datasets.ham10000.phantoms import ham10000_cohort
from ctan_networks.datasets.openkbp.phantoms import openkbp_cohort
from ctan_networks.datasets.prostate.phantoms import prostate_cohort
from ctan_networks.datasets.stoic.phantoms import stoic_cohort

# The contract with MONAI Label is tested there.
sys.path.insert(0, str(ROOT / "tests" / "integration"))

pytestmark = pytest.mark.slow


def mark_metaimage(file: Path) -> None:
    """Put marks into the header of a volume that is there."""
    keys = ("PatientName", "PatientID", "PatientBirthDate", "Comment", "0010|0010")
    lines = "".join(f"{key} = {mark}\n" for key, mark in zip(keys, MARKS, strict=False)).encode()
    file.write_bytes(file.read_bytes().replace(b"ElementDataFile", lines + b"ElementDataFile", 1))


def mark_all(folder: Path) -> None:
    """Put marks into each NIfTI file and picture of a folder."""
    for file in folder.rglob("*"):
        if file.name.endswith(".nii.gz"):
            image = nib.load(file)
            image.header["descrip"], image.header["db_name"], image.header["aux_file"] = MARKS[0], MARKS[1], MARKS[2]
            image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", MARKS[3].encode()))
            content = np.asanyarray(image.dataobj)
            nib.save(nib.Nifti1Image(content, image.affine, image.header), file)
        elif file.suffix in (".jpg", ".png"):
            with Image.open(file) as picture:
                picture.load()
                mark_photo(picture.copy(), file)


def ct_of(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    patient = Path(openkbp_cohort(folder, train=1, validation=1)) / "train-pats" / "pt_1"
    array, meta = CaseReader().get_data(patient / "ct.csv")
    return array.astype(np.int16), meta["affine"]


def test_metaimage_through_stoic(tmp_path):
    pytest.importorskip("itk")
    data = Path(stoic_cohort(tmp_path / "in", patients=20))
    for file in data.rglob("*.mha"):
        mark_metaimage(file)
    assert len(find_marks(data)) == 5
    small = {"image_size": "[40,32,40]", "pixdim": "[9,9,9]", "batch_size": 4, "num_workers": 0}
    common = small | {"dataset_dir": data, "output_dir": tmp_path / "run", "cache_dir": tmp_path / "cache"}
    printed = bundle_run(["train"], "stoic_ctan", epochs=1, **common)
    printed += bundle_run(["train", "evaluate"], "stoic_ctan", **common)
    given = {"checkpoint": tmp_path / "run" / "model.pt", "output_dir": tmp_path / "out"}
    printed += bundle_run(["inference"], "stoic_ctan", dataset_dir=data, **given)
    assert list((tmp_path / "cache").glob("*.pt")) and list((tmp_path / "out").rglob("*.json"))
    assert (tmp_path / "run" / "evaluation_validation" / "report.html").is_file()
    assert find_marks(printed, tmp_path / "run", tmp_path / "cache", tmp_path / "out") == {}


@pytest.mark.parametrize("bundle", ["openkbp_ctan", "stoic_ctan"])
def test_every_kind_of_ct_through_inference(bundle, tmp_path):
    """A damaged one of each kind is among them: it is left out, and said so."""
    pytest.importorskip("itk")
    data = tmp_path / "in"
    data.mkdir()
    array, affine = ct_of(tmp_path / "kbp")
    for name in ("a.mha", "b.nrrd", "c.mhd"):
        mark_itk(data / name, array, affine)
    nib.save(nib.Nifti1Image(array, affine), data / "d.nii.gz")
    mark_all(data)
    shutil.copytree(Path(prostate_cohort(tmp_path / "rt", patients=1)) / "P001", data / "series")
    for file in (data / "series").rglob("*"):
        if file.is_file():
            mark_dicom(file)
    (data / "e.nrrd").write_bytes((data / "b.nrrd").read_bytes().replace(b"PatientName:=", b""))
    (data / "f.mha").write_bytes((data / "a.mha").read_bytes().replace(b"PatientName = ", b"NDims = "))
    (data / "g.nii.gz").write_bytes((data / "d.nii.gz").read_bytes()[:-2000])
    assert len(find_marks(data)) > 15
    # The series is of a pelvis.
    window = {"window": "[32,32,32]", "any_site": True} if bundle == "openkbp_ctan" else {}
    given = {"checkpoint": trained(tmp_path, bundle), "output_dir": tmp_path / "out"}
    printed = bundle_run(["inference"], bundle, dataset_dir=data, **given, **window)
    assert printed.count(b"skipped: case") == 3
    assert {p.name for p in (tmp_path / "out").iterdir() if p.is_dir()} >= {"a", "b", "c", "d", "series"}
    assert find_marks(printed, tmp_path / "out") == {}


def test_photographs_through_ham10000_and_a_comparison(tmp_path):
    data = Path(ham10000_cohort(tmp_path / "in", lesions=21))
    mark_all(data)
    assert len(find_marks(data)) == 5
    common = {
        "dataset_dir": data,
        "output_dir": tmp_path / "run",
        "cache_dir": tmp_path / "cache",
        "image_size": "[48,48]",
        "batch_size": 4,
        "num_workers": 0,
    }
    printed = bundle_run(["train"], "ham10000_ctan", epochs=1, **common)
    printed += bundle_run(["train", "evaluate"], "ham10000_ctan", **common)
    given = {"checkpoint": tmp_path / "run" / "model.pt", "output_dir": tmp_path / "out"}
    printed += bundle_run(["inference"], "ham10000_ctan", dataset_dir=data, **given)
    assert list((tmp_path / "cache").glob("*.pt")) and list((tmp_path / "out").rglob("*.png"))
    assert (tmp_path / "run" / "evaluation_validation" / "predictions.csv").is_file()
    options = common | {"output_dir": tmp_path / "compared", "max_steps": 2, "architectures": "hps"}
    more = [text for key, value in options.items() for text in (f"--{key}", value)]
    more += ["--network_def#channels", "[16,16,16]", "--network_def#norm", "INSTANCE"]
    printed += run("ctan_networks", "compare", "--bundle", ROOT / "bundles" / "ham10000_ctan", *more)
    assert (tmp_path / "compared" / "comparison.html").is_file()
    assert find_marks(printed, *(tmp_path / name for name in ("run", "cache", "out", "compared"))) == {}


@pytest.mark.parametrize("dims", [2, 3])
def test_cases_of_ones_own_through_a_new_bundle(dims, tmp_path):
    """A column that no task asks for names the patients; so does a list in JSON."""
    tasks = "seg:segmentation:1,heat:regression:1,grade:classification:low|high"
    made = run(
        "ctan_networks", "new_bundle", "mine", "--tasks", tasks, "--spatial_dims", dims, "--output_dir", tmp_path
    )
    bundle, data = tmp_path / "mine", tmp_path / "cohort"
    shutil.move(bundle / "phantom" / "cohort", data)
    mark_all(data)
    with open(data / "cases.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    with open(data / "cases.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "patient_name", "born"])
        writer.writeheader()
        writer.writerows(row | {"patient_name": MARKS[4], "born": "19020717"} for row in rows)
    listed = {"training": [{"image": row["image"], "patient": MARKS[4]} for row in rows[:3]], "name": MARKS[4]}
    (data / "list.json").write_text(json.dumps(listed))
    assert len(find_marks(data)) >= 4
    size = "image_size" if dims == 2 else "crop_size"
    common = {"output_dir": tmp_path / "run", "cache_dir": tmp_path / "cache", size: str([32] * dims), "num_workers": 0}
    printed = made + bundle_run(["train"], bundle, epochs=1, val_interval=1, dataset_dir=data / "cases.csv", **common)
    printed += bundle_run(["train", "evaluate"], bundle, dataset_dir=data / "cases.csv", **common)
    given = {"checkpoint": tmp_path / "run" / "model.pt", "output_dir": tmp_path / "out"}
    printed += bundle_run(["inference"], bundle, dataset_dir=data / "list.json", **given)
    assert list((tmp_path / "cache").glob("*.pt")) and list((tmp_path / "out").rglob("*_result.json"))
    assert (tmp_path / "run" / "evaluation_validation" / "report.html").is_file()
    assert find_marks(printed, bundle, *(tmp_path / name for name in ("run", "cache", "out"))) == {}


def test_the_command_that_writes_dicom(tmp_path):
    """Of a volume that is no DICOM nothing but the name of the results' folder goes into it."""
    pytest.importorskip("itk")
    array, affine = ct_of(tmp_path / "kbp")
    mark_itk(tmp_path / "ct.nrrd", array, affine)
    results = tmp_path / "results" / "anyone"
    results.mkdir(parents=True)
    nib.save(nib.Nifti1Image((array > 0).astype(np.uint8), affine), results / "anyone_structures.nii.gz")
    nib.save(nib.Nifti1Image(np.maximum(array, 0).astype(np.float32) / 30, affine), results / "anyone_dose.nii.gz")
    mark_all(results)
    given = ("--ct", tmp_path / "ct.nrrd", "--results", results, "--output_dir", tmp_path / "dicom")
    printed = run("ctan_networks", "export_dicom", *given, "--structures", "Bone")
    assert (tmp_path / "dicom" / "RTDOSE.dcm").is_file() and list((tmp_path / "dicom" / "CT").iterdir())
    assert find_marks(printed, tmp_path / "dicom") == {}


@pytest.mark.parametrize("bundle", ["openkbp_ctan", "prostate_ctan", "stoic_ctan", "ham10000_ctan"])
def test_what_monai_label_answers(bundle, bundles, tmp_path):
    from test_label_contract import infer

    image = tmp_path / ("photo.jpg" if bundle == "ham10000_ctan" else "case.nrrd")
    if bundle == "ham10000_ctan":
        photo = next(Path(ham10000_cohort(tmp_path / "in", lesions=21)).rglob("*.jpg"))
        with Image.open(photo) as picture:
            mark_photo(picture, image)
    elif bundle == "prostate_ctan":
        image = Path(shutil.copytree(Path(prostate_cohort(tmp_path / "in", patients=1)) / "P001", tmp_path / "case"))
        for file in image.rglob("*"):
            if file.is_file():
                mark_dicom(file)
    else:
        pytest.importorskip("itk")
        mark_itk(image, *ct_of(tmp_path / "in"))
    assert len(find_marks(image)) >= 4
    answer = infer(bundles / bundle, tmp_path / "out", str(image))
    said = json.dumps(answer["result"]) + repr(getattr(answer.get("pred"), "meta", ""))
    assert len(said) > 50 and find_marks(said.encode(), tmp_path / "out") == {}
