# SPDX-License-Identifier: Apache-2.0
"""What MONAI Label does with a bundle's ``inference.json``, without MONAI Label (0.8.5: monailabel/tasks/infer)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.transforms import LoadImaged
from PIL import Image

from ctan_networks.datasets.case_reader import CaseReader
from ctan_networks.datasets.ham10000.phantoms import ham10000_cohort
from ctan_networks.datasets.openkbp.phantoms import openkbp_cohort
from ctan_networks.datasets.prostate.phantoms import prostate_cohort
from ctan_networks.datasets.stoic.phantoms import stoic_cohort

NAMES = ["ham10000_ctan", "openkbp_ctan", "prostate_ctan", "stoic_ctan"]


def nifti(folder: Path, source: str | Path) -> str:
    reader = CaseReader()
    volume, meta = reader.get_data(reader.read(str(source)))
    target = folder / "case.nii.gz"
    nib.save(nib.Nifti1Image(volume.astype(np.int16), meta["affine"]), target)
    return str(target)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("images")
    kbp = Path(openkbp_cohort(folder, train=1, validation=1))
    photo = next(Path(ham10000_cohort(folder, lesions=21)).rglob("*.jpg"))
    return {
        "ham10000_ctan": str(photo),
        "openkbp_ctan": nifti(folder, next(kbp.rglob("ct.csv"))),
        "prostate_ctan": str(Path(prostate_cohort(folder, patients=1)) / "P001"),
        "stoic_ctan": str(next(Path(stoic_cohort(folder, patients=4)).rglob("*.mha"))),
    }


def infer(root: Path, output: Path, image: str, **request: Any) -> dict[str, Any]:
    parser = ConfigParser()
    parser.read_config(root / "configs" / "inference.json")
    parser.config.update({"bundle_root": str(root), "output_dir": str(output)})
    parser.config["device"] = "cpu"  # the server puts a string there
    for option in parser.get("displayable_configs", {}):
        if option in request:
            parser.config["displayable_configs"][option] = request[option]
    parser.parse()
    data: dict[str, Any] = {"model": root.name, "image": image, "image_path": image, **request}
    for transform in parser.get_parsed_content("preprocessing").transforms:
        if isinstance(transform, LoadImaged):
            transform._loader.image_only = False
        data = transform(data)
    network = parser.get_parsed_content("network_def")
    weights = torch.load(root / "models" / "model.pt", weights_only=True)
    network.load_state_dict(weights, strict=False)
    network.eval()
    with torch.no_grad():
        data["pred"] = parser.get_parsed_content("inferer")(data["image"][None], network)[0]
    for transform in parser.get_parsed_content("postprocessing").transforms:
        data = transform(data)
    return data


@pytest.mark.parametrize("name", NAMES)
def test_the_answer_is_a_label_on_the_images_grid_and_plain_numbers(bundles, tmp_path, images, name):
    answer = infer(bundles / name, tmp_path, images[name])
    result = json.loads(json.dumps(answer["result"], allow_nan=False))
    assert "Research use only" in result["notice"]
    metadata = json.loads((bundles / name / "configs" / "metadata.json").read_text())
    channels = metadata["network_data_format"]["outputs"]["pred"].get("channel_def", {})
    if name == "stoic_ctan":
        assert answer["result_write_to_file"] is False and result["weights"] == "phantom" and not channels
        for task in ("covid", "severity"):
            assert sum(result[task]["probabilities"].values()) == pytest.approx(1, abs=1e-3)
        return
    label = torch.as_tensor(answer["pred"])
    assert set(label.unique().tolist()) <= {int(k) for k in channels} and answer["result_dtype"] == "uint8"
    if name == "ham10000_ctan":
        with Image.open(images[name]) as photo:
            assert label.shape == photo.size
        assert len(result["diagnosis"]["probabilities"]) == 7 and answer["result_extension"] == ".png"
        return
    reader = CaseReader()
    volume, meta = reader.get_data(reader.read(images[name]))
    assert label.shape[1:] == volume.shape and np.allclose(answer["pred"].affine, meta["affine"], atol=1e-4)
    assert answer["result_extension"] == ".nii.gz"
    assert set(result["dose"]["structures"]) <= set(channels.values())
    written = nib.load(result["dose"]["file"])
    assert written.shape == volume.shape and written.get_fdata().max() == pytest.approx(
        result["dose"]["maximum"], abs=1e-3
    )


def test_a_client_may_ask_for_the_dose_as_the_volume(bundles, tmp_path, images):
    asked = {"return_volume": "dose", "result_extension": ".nrrd", "result_dtype": "uint8"}
    answer = infer(bundles / "prostate_ctan", tmp_path, images["prostate_ctan"], **asked)
    assert (answer["result_extension"], answer["result_dtype"]) == (".nrrd", "float32")
    assert float(answer["pred"].max()) == pytest.approx(answer["result"]["dose"]["maximum"], abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_configurations_ask_nothing_of_a_device_that_a_string_cannot_answer(bundles, name):
    for file in (bundles / name / "configs").glob("*.json"):
        assert "@device." not in file.read_text()
