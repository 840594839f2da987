# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ctan_networks.errors import ConfigError
from ctan_networks.tools.monai_label.app import make_app
from ctan_networks.tools.monai_label.start import serve, server_command, server_environment


@pytest.fixture
def stock(tmp_path, monkeypatch) -> Path:
    """A MONAI Label that has nothing but its sample app."""
    app = tmp_path / "venv" / "sample-apps" / "monaibundle"
    app.mkdir(parents=True)
    (app / "main.py").write_text("# the stock app")

    class Installed(type(Path())):
        def locate(self) -> Path:
            return tmp_path / "venv" / self

    files = [Installed("sample-apps/radiology/main.py"), Installed("sample-apps/monaibundle/main.py")]
    monkeypatch.setattr(importlib.metadata, "files", lambda name: files)
    return app


def bundle(folder: Path) -> Path:
    for file in ("configs/inference.json", "configs/metadata.json", "models/model.pt"):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("{}")
    return folder


def test_the_stock_app_with_links_to_the_bundles(tmp_path, stock):
    first, second = bundle(tmp_path / "a"), bundle(tmp_path / "b")
    assert make_app(tmp_path / "app", [first]) == ["a"]
    assert make_app(tmp_path / "app", [first, second]) == ["a", "b"], "a second start"
    assert (tmp_path / "app" / "main.py").read_text() == "# the stock app"
    assert (tmp_path / "app" / "model" / "b").resolve() == second.resolve()


def test_what_cannot_be_served(tmp_path, stock):
    whole = bundle(tmp_path / "a")
    (bundle(tmp_path / "empty") / "models" / "model.pt").unlink()
    for bundles, said in [
        ([tmp_path / "empty"], "models/model.pt"),
        ([], "one or more"),
        ([whole, whole], "different"),
    ]:
        with pytest.raises(ConfigError, match=said):
            make_app(tmp_path / "app", bundles)
    (tmp_path / "app" / "model" / "a").mkdir(parents=True)
    with pytest.raises(ConfigError, match="there already"):
        make_app(tmp_path / "app", [whole])
    with pytest.raises(ConfigError, match="no folder"):
        serve([whole], tmp_path / "nowhere")


def test_without_monai_label_the_error_names_the_page(tmp_path, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", missing)
    with pytest.raises(ConfigError, match="docs/MONAI_LABEL.md"):
        make_app(tmp_path / "app", [bundle(tmp_path / "a")])


def test_the_server_stays_on_this_machine_and_off_the_network():
    command = server_command("app", ["a", "b"], "studies", "127.0.0.1", 8000)
    text = " ".join(command)
    assert "--host 127.0.0.1" in text and "--conf models a,b" in text and "--conf zoo_source local" in text


def test_mends_reach_every_python_that_the_server_starts(monkeypatch):
    """An interpreter with the environment finds pydicom-seg (or what stands for it) although pydicom is version 3."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))
    code = (
        "import pydicom_seg, sys, pydicom._storage_sopclass_uids as s\nprint(s.CTImageStorage, 'torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], env=server_environment(), capture_output=True, text=True)
    assert ran.stdout.split() == ["1.2.840.10008.5.1.4.1.1.2", "False"], ran.stderr
