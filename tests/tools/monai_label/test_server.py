# SPDX-License-Identifier: Apache-2.0
"""A real MONAI Label server with all bundles of the collection: ``pytest -m label``, where MONAI Label is installed."""

from __future__ import annotations

import email
import importlib.util
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from markers import MARKS, find_marks, mark_dicom

from ctan_networks.datasets.case_reader import CaseReader
from ctan_networks.datasets.ham10000.phantoms import ham10000_cohort
from ctan_networks.datasets.openkbp.phantoms import openkbp_cohort
from ctan_networks.datasets.prostate.phantoms import prostate_cohort
from ctan_networks.datasets.stoic.phantoms import stoic_cohort
from ctan_networks.tools.monai_label.app import make_app
from ctan_networks.tools.monai_label.start import server_command, server_environment

pytestmark = [
    pytest.mark.label,
    pytest.mark.timeout(900),
    pytest.mark.skipif(importlib.util.find_spec("monailabel") is None, reason="MONAI Label is not installed"),
]
NAMES = ["ham10000_ctan", "openkbp_ctan", "prostate_ctan", "stoic_ctan"]


class Server:
    """What a client sees of the server, and the folders behind it."""

    def __init__(self, url: str, folder: Path, dicom: Path) -> None:
        self.url = url
        self.bundles = folder / "bundles"
        self.studies = folder / "studies"
        self.dicom = dicom
        self.log = folder / "server.log"

    def ask(self, path: str, body: bytes | None = None, kind: str = "", method: str | None = None, **query: str) -> Any:
        url = f"{self.url}{path}?{urllib.parse.urlencode(query)}"
        request = urllib.request.Request(url, body, {"Content-Type": kind} if kind else {}, method=method)
        with urllib.request.urlopen(request, timeout=600) as answer:
            return answer.headers, answer.read()

    def infer(self, model: str, image: str, output: str = "all", **params: str) -> tuple[dict[str, Any], bytes, str]:
        """Result as JSON, the label's bytes and its file name; empty where there is no label."""
        form = f'--b\r\nContent-Disposition: form-data; name="params"\r\n\r\n{json.dumps(params)}\r\n--b--\r\n'.encode()
        headers, body = self.ask(f"/infer/{model}", form, "multipart/form-data; boundary=b", image=image, output=output)
        if not headers["content-type"].startswith("multipart"):
            return json.loads(body), b"", ""
        message = email.message_from_bytes(b"Content-Type: " + headers["content-type"].encode() + b"\r\n\r\n" + body)
        parts = {p.get_param("name", header="content-disposition"): p for p in message.get_payload()}
        label = parts["image"]
        return (
            json.loads(parts["params"].get_payload(decode=True)),
            label.get_payload(decode=True),
            label.get_filename(),
        )


@pytest.fixture(scope="module")
def server(bundles, tmp_path_factory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    for name in NAMES:
        shutil.copytree(bundles / name, folder / "bundles" / name)
    dicom = make_studies(folder)
    names = make_app(folder / "app", [folder / "bundles" / name for name in NAMES])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = server_command(folder / "app", names, str(folder / "studies"), "127.0.0.1", port)
    environment = server_environment() | {"MONAI_LABEL_SESSION_PATH": str(folder / "sessions")}
    with open(folder / "server.log", "w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    made = Server(f"http://127.0.0.1:{port}", folder, dicom)
    try:
        wait_for(made, process, folder / "server.log")
        yield made
    finally:
        process.terminate()
        process.wait(60)


def wait_for(server: Server, process: subprocess.Popen, log: Path) -> None:
    for _ in range(180):
        assert process.poll() is None, f"the server did not start:\n{log.read_text()[-3000:]}"
        try:
            server.ask("/info/")
        except (urllib.error.URLError, ConnectionError):
            time.sleep(1)
        else:
            return
    raise AssertionError(log.read_text()[-3000:])


def make_studies(folder: Path) -> Path:
    studies, sources = folder / "studies", folder / "sources"
    studies.mkdir()
    reader = CaseReader()
    kbp = Path(openkbp_cohort(sources, train=3, validation=1))
    for k, ct in enumerate(sorted((kbp).rglob("ct.csv"))):
        volume, meta = reader.get_data(reader.read(str(ct)))
        if k == 0:  # stored with other axes, one of them backwards
            volume, turn = volume.transpose(2, 0, 1)[::-1], np.zeros((4, 4))
            turn[0, 1] = turn[1, 2] = turn[3, 3] = 1
            turn[2, 0], turn[2, 3] = -1, volume.shape[0] - 1
            meta["affine"] = meta["affine"] @ turn
        image = nib.Nifti1Image(volume.astype(np.int16), meta["affine"])
        image.header["descrip"] = MARKS[0]
        nib.save(image, studies / f"kbp{k}.nii.gz")
    for k, photo in enumerate(sorted(Path(ham10000_cohort(sources, lesions=21)).rglob("*.jpg"))[:3]):
        shutil.copy(photo, studies / f"lesion{k}.jpg")
        (studies / f"lesion{k}.json").write_text(json.dumps({"diagnosis": "nv" if k else "mel"}))
    for k, chest in enumerate(sorted(Path(stoic_cohort(sources, patients=4)).rglob("*.mha"))[:3]):
        shutil.copy(chest, studies / f"chest{k}.mha")
        (studies / f"chest{k}.json").write_text(json.dumps({"covid": "positive", "severity": 0}))
    patient = Path(prostate_cohort(sources, patients=1)) / "P001"
    for file in patient.rglob("*"):
        if file.is_file() and file.read_bytes()[128:132] == b"DICM":
            mark_dicom(file)
    return patient


def test_all_bundles_are_served_and_can_be_trained(server):
    info = json.loads(server.ask("/info/")[1])
    assert set(info["models"]) == set(info["trainers"]) == set(NAMES)
    assert list(info["models"]["prostate_ctan"]["labels"]) == [
        "bladder", "rectum", "femoralheadleft", "femoralheadright", "ptv",
    ]  # fmt: skip
    assert info["models"]["ham10000_ctan"]["labels"] == {"lesion": 1}


@pytest.mark.parametrize("round", [1, 2])
def test_answers_alternate_between_bundles(server, tmp_path, round):
    result, label, name = server.infer("openkbp_ctan", "kbp0")
    (tmp_path / name).write_bytes(label)
    answer, image = nib.load(tmp_path / name), nib.load(server.studies / "kbp0.nii.gz")
    assert answer.shape == image.shape and np.allclose(answer.affine, image.affine, atol=1e-3)
    assert answer.get_data_dtype() == np.uint8
    # The same label map as the saved file, which is on the input's grid too.
    saved = nib.load(Path(result["dose"]["file"]).with_name("kbp0_labels.nii.gz"))
    assert np.array_equal(np.squeeze(saved.get_fdata()), np.squeeze(answer.get_fdata()))
    assert result["dose"]["maximum"] > 0

    result, label, name = server.infer("ham10000_ctan", "lesion0")
    assert name.endswith(".png") and sum(result["diagnosis"]["probabilities"].values()) == pytest.approx(1, abs=1e-2)

    result, label, name = server.infer("stoic_ctan", "chest0")
    assert not label and set(result["covid"]["probabilities"]) == {"negative", "positive"}
    assert result["weights"] == "phantom" and "know nothing about patients" in result["notice"]

    result, label, name = server.infer("prostate_ctan", str(server.dicom))
    (tmp_path / name).write_bytes(label)
    reader = CaseReader()
    volume, meta = reader.get_data(reader.read(str(server.dicom)))
    answer = nib.load(tmp_path / name)
    assert answer.shape == volume.shape and np.allclose(answer.affine, meta["affine"], atol=1e-3)


def test_who_the_patient_is_stands_in_no_answer_and_no_log(server):
    """Marks are in the studies, as names, ids and texts of DICOM and in NIfTI's header: see ``tests/markers.py``."""
    assert set(find_marks(server.dicom)) == set(MARKS) and find_marks(server.studies / "kbp0.nii.gz")
    for model, image in (("openkbp_ctan", "kbp0"), ("prostate_ctan", str(server.dicom))):
        result, label, name = server.infer(model, image)
        (server.log.parent / name).write_bytes(label)
        assert find_marks(json.dumps(result).encode(), server.log.parent / name, server.log) == {}, model
        folder = Path(result["dose"]["file"]).parent
        assert list(folder.rglob("*_dose.nii.gz")) and find_marks(folder) == {}, model


def test_what_3d_slicer_sends(server):
    asked = {"result_extension": ".nrrd", "result_dtype": "uint8"}
    _, label, name = server.infer("openkbp_ctan", "kbp1", **asked)
    assert name.endswith(".nrrd") and b"type: unsigned char" in label[:600]
    _, dose, name = server.infer("openkbp_ctan", "kbp1", **asked, return_volume="dose")
    assert name.endswith(".nrrd") and b"type: float" in dose[:600]


def test_weights_of_another_network_are_refused(server):
    weights = server.bundles / "stoic_ctan" / "models" / "model.pt"
    kept = weights.read_bytes()
    try:
        torch.save({f"module.{k}": v for k, v in torch.load(weights, weights_only=True).items()}, weights)
        with pytest.raises(urllib.error.HTTPError) as error:
            server.infer("stoic_ctan", "chest0")
        assert error.value.code == 500
    finally:
        weights.write_bytes(kept)


@pytest.mark.parametrize(
    ("name", "image"), [("ham10000_ctan", "lesion"), ("openkbp_ctan", "kbp"), ("stoic_ctan", "chest")]
)
def test_training_on_what_the_server_knows(server, name, image):
    root = server.bundles / name
    before = (root / "models" / "model.pt").read_bytes()
    # The server trains a model on whatever is labelled; the labels of another bundle's images are not for this one.
    for old in (server.studies / "labels").rglob("*.*"):
        old.unlink()
    for k in range(3):
        _, label, file = server.infer(name, f"{image}{k}")
        label, file = (label, file) if label else (b"{}", "label.json")
        form = (
            b'--b\r\nContent-Disposition: form-data; name="params"\r\n\r\n{}\r\n'
            b'--b\r\nContent-Disposition: form-data; name="label"; filename="' + file.encode() + b'"\r\n\r\n' + label
        ) + b"\r\n--b--\r\n"
        server.ask("/datastore/label", form, "multipart/form-data; boundary=b", "PUT", image=f"{image}{k}", tag="final")
    asked = json.dumps({"max_epochs": 1, "val_split": 0.34, "multi_gpu": False}).encode()
    server.ask(f"/train/{name}", asked, "application/json", run_sync="true")
    served = torch.load(root / "models" / "model.pt", weights_only=True)
    assert (root / "models" / "model.pt").read_bytes() != before
    assert [p.name for p in (root / "models").glob("*.pt")] == ["model.pt"]
    (earlier,) = root.rglob("earlier/*.pt")
    assert earlier.read_bytes() == before
    assert all(torch.isfinite(v).all() for v in served.values() if v.is_floating_point())
    result, _, _ = server.infer(name, f"{image}0", output="json")
    assert result["weights"] == "patients", "the images carry no phantom's marker"
