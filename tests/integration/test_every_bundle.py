# SPDX-License-Identifier: Apache-2.0
"""What holds for every bundle of the collection."""

from __future__ import annotations

import json
import re
from configparser import ConfigParser as IniParser
from pathlib import Path
from typing import Any

import nibabel as nib
import pytest
import torch
from monai.bundle import ConfigParser, load

from ctan_networks.datasets.ham10000.phantoms import ham10000_cohort
from ctan_networks.datasets.openkbp.phantoms import openkbp_cohort
from ctan_networks.datasets.prostate.phantoms import prostate_cohort
from ctan_networks.datasets.stoic.phantoms import stoic_cohort
from ctan_networks.errors import reason_of
from ctan_networks.radiotherapy.dicom.patient_folder import read_treatment_plan, scan_folder
from ctan_networks.radiotherapy.dicom.rtdose import read_dose
from ctan_networks.radiotherapy.dicom.rtstruct import read_structures

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(p.name for p in (ROOT / "bundles").iterdir() if (p / "configs").is_dir())

# What network_def has for the start of a training alone.
OF_TRAINING = ("seed", "encoder_weights", "freeze_encoder", "drop_path")


def image_for(bundles: Path, name: str) -> torch.Tensor:
    metadata = json.loads((bundles / name / "configs" / "metadata.json").read_text())
    data = metadata["network_data_format"]["inputs"]["image"]
    # The smallest size that the metadata allow: "32*n" with n = 1.
    return torch.randn(1, data["num_channels"], *[int(side.split("*")[0]) for side in data["spatial_shape"]])


@pytest.mark.parametrize("name", NAMES)
def test_load_gives_the_shipped_weights_from_anywhere(bundles, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    network = load(name, bundle_dir=str(bundles), workflow_type="inference")
    shipped = torch.load(bundles / name / "models" / "model.pt", weights_only=True)
    assert network.state_dict().keys() == shipped.keys()
    for key, value in shipped.items():
        assert torch.equal(network.state_dict()[key], value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_evaluation_and_inference_build_the_encoder_that_was_trained(bundles, tmp_path, name):
    """From model.json beside the weights; a switch of training alone is its weights."""
    (tmp_path / "model.json").write_text(json.dumps({"encoder": "resnet10"}))
    configs = bundles / name / "configs"

    def network(*files: str, **override) -> Any:
        parser = ConfigParser(ConfigParser.load_config_files([str(configs / f"{file}.json") for file in files]))
        parser.update(override | {"checkpoint": str(tmp_path / "model.pt"), "bundle_root": str(bundles / name)})
        return parser.get_parsed_content("network_def")

    given = {"encoder": "resnet10", "freeze_encoder": 2, "drop_path": None}
    trained = network("train", **given)
    assert not trained.encoder.backbone.train().conv1.weight.requires_grad
    keys = trained.state_dict().keys()
    assert network("train", "evaluate", encoder_weights=None).state_dict().keys() == keys
    assert network("inference").state_dict().keys() == keys
    with pytest.raises(RuntimeError) as failure:
        network("train", **given, encoder_weights="imagenet")
    assert "no ImageNet weights are known for the encoder 'resnet10'" in reason_of(failure.value)
    (tmp_path / "model.json").unlink()
    assert not any("backbone" in key for key in network("inference").state_dict())


@pytest.mark.parametrize(
    # One in three dimensions and one in two; the others take a minute each.
    "name",
    [n if n in ("openkbp_ctan", "ham10000_ctan") else pytest.param(n, marks=pytest.mark.slow) for n in NAMES],
)
def test_zoo_verifications_pass_from_the_repositorys_root(bundles, tmp_path, command, name):
    """What Model Zoo's CI runs; verify_metadata wants the schema from the net, so ours is checked elsewhere."""
    root = bundles.parent
    options = ("--net_id", "network_def", "--meta_file", f"bundles/{name}/configs/metadata.json")
    config = ("--config_file", f"bundles/{name}/configs/inference.json")
    shape = command("verify_net_in_out", *options, *config, cwd=root)
    assert shape.returncode == 0, shape.stderr[-2000:]
    target = tmp_path / "model.ts"
    weights = ("--ckpt_file", f"bundles/{name}/models/model.pt", "--filepath", str(target))
    script = command("ckpt_export", *options, *config, *weights, cwd=root)
    assert script.returncode == 0 and target.is_file(), script.stderr[-2000:]
    image = image_for(bundles, name)
    eager = load(name, bundle_dir=str(bundles), workflow_type="inference").eval()
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.load(str(target))(image), eager(image))


COHORTS = {
    "ham10000_ctan": lambda folder: ham10000_cohort(folder, lesions=21),
    "openkbp_ctan": lambda folder: openkbp_cohort(folder, train=1, validation=1),
    "prostate_ctan": lambda folder: prostate_cohort(folder, patients=5),
    "stoic_ctan": lambda folder: stoic_cohort(folder, patients=8),
}


@pytest.mark.parametrize("name", NAMES)
def test_monai_finds_every_property_it_asks_for(bundles, bundle_copy, tmp_path, name):
    bundle = bundle_copy(name, small={}, quick={})
    given = {
        "dataset_dir": COHORTS[name](tmp_path / "data"),
        "output_dir": str(tmp_path / "run"),
        "cache_dir": str(tmp_path / "cache"),
        "checkpoint": str(bundles / name / "models" / "model.pt"),
    }
    for files, kind in ((("train",), "train"), (("train", "evaluate"), "train"), (("inference",), "infer")):
        assert bundle.workflow(files, kind, **given).check_properties() == []


@pytest.mark.parametrize("name", NAMES)
def test_metadata_and_configurations_agree(bundles, name):
    read = {file.stem: json.loads(file.read_text()) for file in (bundles / name / "configs").glob("*.json")}
    metadata, train, inference = read["metadata"], read["train"], read["inference"]
    outputs = metadata["network_data_format"]["outputs"]
    assert next(iter(outputs)) == "pred" and next(iter(metadata["network_data_format"]["inputs"])) == "image"
    # MONAI Label takes every entry but the background for a label of its own.
    labels = [v for v in outputs["pred"].get("channel_def", {}).values() if v != "background"]
    results = metadata["network_data_format"]["post_processed_outputs"]
    assert len(labels) == results.get("predicted_segmentation", {"num_channels": 0})["num_channels"]
    assert metadata["version"] in metadata["changelog"]
    same = {k: v for k, v in train["network_def"].items() if k not in OF_TRAINING}
    assert same == {k: v for k, v in inference["network_def"].items() if k != "stacked"}
    assert train["tasks"] == inference["tasks"]
    for file in (bundles / name).rglob("configs/*.json"):
        text = file.read_text()
        assert text.endswith("}\n") and "\t" not in text
    assert [p.name for p in (bundles / name / "models").iterdir() if p.suffix == ".pt"] == ["model.pt"]
    assert (bundles / name / "models" / "model.pt").stat().st_size < 25e6
    described = (bundles / name / "docs" / "README.md").read_text()
    assert "Research use only" in described and (bundles / name / "docs" / "data_license.txt").is_file()


def test_results_of_any_bundle_with_structures_and_dose_become_dicom(bundle_copy, bundles, tmp_path):
    """OpenKBP's CSV has no DICOM header: a CT series and a plan are written with the results."""
    bundle = bundle_copy("openkbp_ctan", small={}, quick={})
    data = openkbp_cohort(tmp_path / "data", train=1, validation=0)
    options = {"dataset_dir": data, "output_dir": str(tmp_path / "out"), "export_dicom": True}
    weights = {"checkpoint": str(bundles / "openkbp_ctan" / "models" / "model.pt")}
    bundle.workflow(("inference",), "infer", **options, **weights).run()
    folder = tmp_path / "out" / "pt_1" / "dicom"
    plan = read_treatment_plan(scan_folder(folder))
    assert plan.prescription == 70.0 and plan.ct.shape == (128, 128, 128)
    names = [roi.name for roi in read_structures(*plan.structure_set)]
    assert names[0] == "Brainstem" and names[-1] == "PTV70"
    image = nib.load(tmp_path / "out" / "pt_1" / "pt_1_dose.nii.gz")
    assert read_dose(folder / "RTDOSE.dcm").dose.max() == pytest.approx(image.get_fdata().max(), abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_everything_that_the_package_imports_is_among_the_required_packages(bundles, name):
    """Who installs a bundle's requirements, as the zoo's CI does, can import the whole package."""
    setup = IniParser()
    setup.read(ROOT / "setup.cfg")
    needed = {re.split("[<>=]", line)[0] for line in setup["options"]["install_requires"].split()}
    metadata = json.loads((bundles / name / "configs" / "metadata.json").read_text())
    listed = metadata["required_packages_version"]
    assert needed - {"monai", "torch", "numpy"} <= set(listed)
    # The zoo installs "name==version".
    assert all(re.fullmatch(r"\d+(\.\d+)+", version) for version in listed.values())
