# SPDX-License-Identifier: Apache-2.0
"""What identifies a patient stays in the input: it is in no file, log or answer, but for DICOM that was asked for."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from bundle_runs import ROOT, bundle_run, trained
from markers import ELEMENTS, MARKS, find_marks, mark_dicom
from PIL import Image, PngImagePlugin

from ctan_networks.datasets.ham10000.phantoms import ham10000_cohort
from ctan_networks.datasets.openkbp.phantoms import openkbp_cohort
from ctan_networks.datasets.openkbp.reader import OpenKBPReader
from ctan_networks.datasets.prostate.phantoms import prostate_cohort


def test_the_search_finds_what_is_hidden(tmp_path):
    """Without this, finding nothing would say nothing."""
    secret = f"..{MARKS[2]}..".encode()
    info = PngImagePlugin.PngInfo()
    info.add_text("note", secret.decode() * 50, zip=True)
    Image.new("L", (4, 4)).save(tmp_path / "a.png", pnginfo=info)
    (tmp_path / "b.gz").write_bytes(gzip.compress(secret))
    torch.save({"case": secret.decode(), "x": torch.zeros(2)}, tmp_path / "c.pt")
    np.savez_compressed(tmp_path / "d.npz", a=np.frombuffer(secret, np.uint8))
    (tmp_path / "e.txt").write_text(secret.decode().lower(), encoding="utf-16")
    with zipfile.ZipFile(tmp_path / "f.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "b.gz", "inner/b.gz")
    (tmp_path / f"g_{MARKS[2]}.txt").write_text("")
    for file in sorted(tmp_path.iterdir()):
        assert list(find_marks(file)) == [MARKS[2]], file.name
    assert find_marks(b"nothing here") == {}


@pytest.fixture(scope="module")
def patients(tmp_path_factory) -> Path:
    """DICOM-RT with every mark in every file, in folders that have other names."""
    folder = Path(prostate_cohort(tmp_path_factory.mktemp("dicom"), patients=8))
    for file in folder.rglob("*"):
        if file.is_file() and file.read_bytes()[128:132] == b"DICM":
            mark_dicom(file)
    assert set(find_marks(folder)) == set(MARKS)
    return folder


@pytest.mark.slow
def test_dicom_through_training_evaluation_and_inference(patients, tmp_path):
    common = {"cache_dir": tmp_path / "cache", "crop_size": "[32,32,32]", "num_workers": 0}
    options = {"dataset_dir": patients, "output_dir": tmp_path / "run", **common}
    printed = bundle_run(["train"], "prostate_ctan", epochs=1, **options)
    printed += bundle_run(["train", "evaluate"], "prostate_ctan", **options)
    infer = {"checkpoint": tmp_path / "run" / "model.pt", "window": "[32,32,32]", "uncertainty": True}
    printed += bundle_run(["inference"], "prostate_ctan", dataset_dir=patients, output_dir=tmp_path / "out", **infer)
    assert {p.name for p in (tmp_path / "run").iterdir()} >= {"model.pt", "last.pt", "split.csv", "tensorboard"}
    assert (tmp_path / "run" / "evaluation_validation" / "report.html").is_file()
    assert list((tmp_path / "cache").rglob("ct.nii.gz")) and list((tmp_path / "cache").glob("*.pt"))
    assert list((tmp_path / "out").rglob("*_dose.nii.gz"))
    assert find_marks(printed, tmp_path / "run", tmp_path / "cache", tmp_path / "out") == {}


def test_dicom_that_is_asked_for_names_the_patient_and_nothing_else_does(patients, tmp_path):
    """RTSTRUCT, SEG and RTDOSE belong to the patient's study: a planning system must be able to file them."""
    one = tmp_path / "in" / "anyone"
    shutil.copytree(patients / "P001", one)
    printed = bundle_run(
        ["inference"],
        "prostate_ctan",
        dataset_dir=one,
        output_dir=tmp_path / "out",
        checkpoint=trained(tmp_path, "prostate_ctan"),
        window="[32,32,32]",
        export_dicom=True,
    )
    exported = tmp_path / "out" / "anyone" / "dicom"
    for file in exported.glob("*.dcm"):
        data = pydicom.dcmread(file, stop_before_pixels=True)
        assert data.PatientID == ELEMENTS["PatientID"] and str(data.PatientName) == ELEMENTS["PatientName"], file.name
    assert len(list(exported.glob("*.dcm"))) >= 2
    shutil.rmtree(exported)
    assert find_marks(printed, tmp_path / "out") == {}


def test_errors_name_files_not_patients(patients, tmp_path):
    one = tmp_path / "in" / "anyone"
    shutil.copytree(patients / "P001", one)
    slices = [
        f for f in one.rglob("*") if f.is_file() and pydicom.dcmread(f, specific_tags=["Modality"]).Modality == "CT"
    ]
    for file in slices[1::2]:
        file.write_bytes(file.read_bytes()[:-1000])
    done = subprocess.run(
        [
            *(sys.executable, "-m", "monai.bundle", "run", "--config_file"),
            str(ROOT / "bundles" / "prostate_ctan" / "configs" / "inference.json"),
            *("--dataset_dir", str(one), "--output_dir", str(tmp_path / "out")),
            *("--checkpoint", trained(tmp_path, "prostate_ctan"), "--network_def#channels", "[16,16,16]"),
        ],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=600,
        check=False,
    )
    assert done.returncode != 0 and b"anyone" in done.stderr
    assert find_marks(done.stdout + done.stderr) == {}


def test_headers_of_nifti_and_texts_of_pictures_go_nowhere(tmp_path):
    patient = Path(openkbp_cohort(tmp_path / "kbp", train=1, validation=1)) / "train-pats" / "pt_1"
    volume, meta = OpenKBPReader().get_data(patient / "ct.csv")
    image = nib.Nifti1Image(volume.astype(np.int16), meta["affine"])
    image.header["descrip"], image.header["db_name"], image.header["aux_file"] = MARKS[0], MARKS[2], MARKS[3]
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", MARKS[5].encode()))
    nib.save(image, tmp_path / "ct.nii.gz")
    assert len(find_marks(tmp_path / "ct.nii.gz")) == 4
    output = tmp_path / "out"
    printed = bundle_run(
        ["inference"],
        "openkbp_ctan",
        dataset_dir=tmp_path / "ct.nii.gz",
        output_dir=output,
        checkpoint=trained(tmp_path, "openkbp_ctan"),
        window="[32,32,32]",
    )
    photo = next(Path(ham10000_cohort(tmp_path / "ham", lesions=21)).rglob("*.jpg"))
    picture = Image.open(photo)
    exif = picture.getexif()
    exif[0x010E], exif[0x013B] = MARKS[0], MARKS[1]
    picture.save(tmp_path / "photo.jpg", exif=exif, comment=MARKS[2].encode())
    assert len(find_marks(tmp_path / "photo.jpg")) == 3
    printed += bundle_run(
        ["inference"],
        "ham10000_ctan",
        dataset_dir=tmp_path / "photo.jpg",
        output_dir=output,
        checkpoint=trained(tmp_path, "ham10000_ctan"),
        encoder="efficientnet-lite0",
    )
    assert list(output.rglob("*_dose.nii.gz")) and list(output.rglob("photo_*.png"))
    assert find_marks(printed, output) == {}
