# SPDX-License-Identifier: Apache-2.0
"""Training as MONAI Label starts it (0.8.5: monailabel/tasks/train/bundle.py), without MONAI Label."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from PIL import Image

NAMES = ["ham10000_ctan", "openkbp_ctan", "prostate_ctan", "stoic_ctan"]
SMALL = {
    "ham10000_ctan": {"image_size": [64, 64]},
    "openkbp_ctan": {"crop_size": [32, 32, 32]},
    "prostate_ctan": {"crop_size": [32, 32, 32]},
    "stoic_ctan": {"pixdim": [9.0, 9.0, 9.0], "image_size": [40, 32, 40]},
}


def make_items(folder: Path, name: str) -> list[dict[str, str]]:
    """Images, final labels and what lies beside the images, as a datastore of MONAI Label has them."""
    rng = np.random.default_rng(0)
    (folder / "labels" / "final").mkdir(parents=True)
    items = []
    for k in range(3):
        suffix = "png" if name == "ham10000_ctan" else "nii.gz"
        image, label = folder / f"case{k}.{suffix}", folder / "labels" / "final" / f"case{k}.{suffix}"
        beside: dict = {}
        if name == "ham10000_ctan":
            Image.fromarray(rng.integers(0, 255, (40, 48, 3), dtype=np.uint8)).save(image)
            mask = np.zeros((40, 48), np.uint8)
            mask[10:30, 10:30] = 1  # as this bundle's own answer has it
            Image.fromarray(mask).save(label)
            beside = {"diagnosis": ["mel", "nv", "bcc"][k]}
        else:
            affine = np.diag([5.0, 5.0, 3.0, 1.0])
            volume = np.full((48, 40, 36), -1000, np.int16)
            volume[6:42, 6:34] = 40
            if name == "stoic_ctan":
                volume[10:20, 10:30, 2:34] = volume[28:38, 10:30, 2:34] = -850
            # Tissue of one value has no variance, and instance norm's gradients grow without bound.
            volume += rng.normal(0, 20, volume.shape).astype(np.int16)
            if name == "stoic_ctan":
                beside = {"covid": k % 2, "severity": "severe" if k % 2 else "non-severe"}
            nib.save(nib.Nifti1Image(volume, affine), image)
            labels = np.zeros(volume.shape, np.uint8)
            labels[20:28, 15:25, 10:20] = 2
            nib.save(nib.Nifti1Image(labels, affine), label)
        (folder / f"case{k}.json").write_text(json.dumps(beside))
        items.append({"image": str(image), "label": str(label)})
    return items


@pytest.mark.parametrize(
    ("name", "encoder"), [*((name, None) for name in NAMES), ("ham10000_ctan", "efficientnet-lite0")]
)
def test_weights_are_published_and_the_earlier_ones_kept(bundles, bundle_copy, tmp_path, name, encoder):
    bundle = bundle_copy(name, small={}, quick={})
    root = bundle.folder
    if encoder is None:
        shutil.copy(bundles / name / "models" / "model.pt", root / "models" / "model.pt")
    else:
        parser = ConfigParser(ConfigParser.load_config_file(root / "configs" / "train.json"))
        parser.update({"encoder": encoder, "bundle_root": str(root)})
        torch.save(parser.get_parsed_content("network_def").state_dict(), root / "models" / "model.pt")
    before = torch.load(root / "models" / "model.pt", weights_only=True)
    items = make_items(tmp_path, name)
    handlers = ConfigParser.load_config_file(root / "configs" / "train.json")["train"]["handlers"]
    loader = {
        "_target_": "CheckpointLoader",
        "load_path": str(root / "models" / "model.pt"),
        "load_dict": {"model": "$@network"},
        "strict": False,
    }
    override = {
        "bundle_root": str(root),
        "train#trainer#max_epochs": 1,
        "train#dataset#data": items[:2],
        "validate#dataset#data": items[2:],
        "train#handlers": [loader, *handlers],
        "device": "cpu",
        "num_workers": 0,
        **SMALL[name],
        **({"encoder": encoder} if encoder else {}),
    }
    bundle.workflow(("train",), "train", **override).run()
    assert not (root / "phantom").exists(), "no phantom cohort is made for patients"
    published = torch.load(root / "models" / "model.pt", weights_only=True)
    assert published.keys() == before.keys()
    assert any(not torch.equal(published[k], before[k]) for k in before)
    # One small step away from the weights that it began with, and not from random ones.
    parameters = [k for k in before if before[k].is_floating_point() and "running" not in k]
    assert max((published[k] - before[k]).abs().max().item() for k in parameters) < 0.01
    described = json.loads((root / "models" / "model.json").read_text())
    assert described["phantom"] is False and described["epochs"] == 1 and described["cases"] == 2
    served = ConfigParser(ConfigParser.load_config_file(root / "configs" / "inference.json"))
    served.update({"bundle_root": str(root)})
    assert served.get_parsed_content("network_def").state_dict().keys() == published.keys()
    (kept,) = (root / "runs" / "patients_ctan" / "earlier").glob("model_*.pt")
    assert all(torch.equal(v, before[k]) for k, v in torch.load(kept, weights_only=True).items())
    history = (root / "runs" / "patients_ctan" / "history.csv").read_text()
    task = {"ham10000_ctan": "diagnosis", "stoic_ctan": "covid"}.get(name, "segmentation")
    value = next(line.split(",")[2] for line in history.splitlines() if line.startswith(f"1,loss_{task},"))
    assert float(value) > 0, "what lies beside the image is learnt from"
