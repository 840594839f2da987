# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import io
import json
import zipfile
from pathlib import Path

import pytest
import torch
from harmful import Harmful
from torch import nn

from ctan_networks.engines.backends import open_backend
from ctan_networks.errors import DataError


@pytest.fixture
def program(tmp_path) -> Path:
    network = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2)).eval()
    file = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(network, (torch.zeros(1, 1, 8, 8),)), file)
    return file


def change(file: Path, name: str, content: bytes | None, add: str = "") -> None:
    with zipfile.ZipFile(file) as archive:
        members = {entry: archive.read(entry) for entry in archive.namelist()}
    (place,) = [entry for entry in members if entry.endswith(name)]
    if add:
        members[place.removesuffix(name) + add] = content or b""
    elif content is not None:
        members[place] = content
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for entry, data in members.items():
            archive.writestr(entry, data)


def test_a_program_of_our_own_is_opened(program):
    change(program, "/archive_format", None)
    assert open_backend("pt2", program)(torch.ones(1, 1, 8, 8)).shape == (1, 2, 8, 8)


@pytest.mark.parametrize("how", ["inputs", "weight", "old layout", "constant", "object", "no archive"])
def test_pickles_in_a_program_are_not_loaded(program, tmp_path, how):
    mark = tmp_path / "executed"
    pickled = io.BytesIO()
    torch.save((Harmful(mark),), pickled)
    config = "data/weights/model_weights_config.json"
    with zipfile.ZipFile(program) as archive:
        weights = json.loads(archive.read(next(n for n in archive.namelist() if n.endswith(config))))
    if how == "inputs":
        change(program, "/data/sample_inputs/model.pt", pickled.getvalue())
    elif how == "weight":
        next(iter(weights["config"].values()))["use_pickle"] = True
        change(program, config, json.dumps(weights).encode())
        change(program, "/weight_0", pickled.getvalue())
    elif how == "old layout":
        change(program, "/archive_format", pickled.getvalue(), add="/serialized_state_dict.pt")
    elif how == "constant":
        change(program, "/archive_format", pickled.getvalue(), add="/data/constants/model.pt")
    elif how == "object":
        entry = next(iter(weights["config"].values())) | {"path_name": "opaque_obj_0"}
        change(program, "/model_constants_config.json", json.dumps({"config": {"x": entry}}).encode())
    else:
        program.write_bytes(pickled.getvalue())
    with pytest.raises(DataError, match=r"model.pt2 is damaged, or holds pickles .*not opened.*export BUNDLE"):
        open_backend("pt2", program)
    assert not mark.exists()


def test_torch_alone_would_load_it(program, tmp_path):
    """What the check is there for; where this fails, PyTorch has mended it."""
    mark = tmp_path / "executed"
    pickled = io.BytesIO()
    torch.save((Harmful(mark),), pickled)
    change(program, "/data/sample_inputs/model.pt", pickled.getvalue())
    # Whatever it says, by then it has happened.
    with contextlib.suppress(Exception):
        torch.export.load(program)
    assert mark.exists()


@pytest.mark.parametrize("form", ["pt2", "ts", "onnx"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS pointer"),
        (b"<!DOCTYPE html>", "web page"),
        (b"", "empty"),
        (b"\x08\x07 neither of them", "export BUNDLE --form"),
    ],
)
def test_what_is_no_exported_network_is_named(tmp_path, form, content, said):
    if form == "onnx":
        pytest.importorskip("onnxruntime")
    file = tmp_path / f"model.{form}"
    file.write_bytes(content)
    with pytest.raises(DataError, match=rf"model\.{form} .*{said}"):
        open_backend(form, file)
