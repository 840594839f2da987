# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import json
import zipfile

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from ctan_networks.errors import ConfigError
from ctan_networks.handlers import WeightsCheckpointLoader
from ctan_networks.nets import make_network
from ctan_networks.weight_files import read_weights


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


GOOD = network().state_dict()


def prefixed(prefix):
    return {prefix + name: value for name, value in GOOD.items()}


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        prefixed("module."),
        prefixed("_orig_mod."),
        prefixed("module._orig_mod."),
        prefixed("_orig_mod.module."),
        {"model": GOOD},
        {"state_dict": prefixed("module."), "epoch": 3, "optimizer": {"state": {}, "param_groups": []}},
    ],
)
def test_wrapped_weights_are_the_weights(tmp_path, content):
    torch.save(content, tmp_path / "model.pt")
    found = read_weights(tmp_path / "model.pt")
    assert found.keys() == GOOD.keys() and all(torch.equal(found[name], GOOD[name]) for name in GOOD)


def test_weights_of_a_wrapped_network(tmp_path):
    wrapped = nn.DataParallel(network())
    torch.save(wrapped.state_dict(), tmp_path / "model.pt")
    assert read_weights(tmp_path / "model.pt").keys() == GOOD.keys()
    # Legacy files are no zip archives.
    torch.save(GOOD, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert read_weights(tmp_path / "old.pt").keys() == GOOD.keys()


def saved(content):
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def archive():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("my_bundle/configs/train.json", "{}")
    return stream.getvalue()


def script():
    stream = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), stream)
    return stream.getvalue()


HEADER = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
TRAINING = {"objects": {"network": GOOD}, "epoch": 3, "best_epoch": 2, "best": 0.5, "details": {}}
NOT_FINITE = GOOD | {"0.weight": GOOD["0.weight"] * torch.nan}
# What lies under the name of weights, and what a user is told of it.
WRONG = {
    "pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1068\n",
        "Git LFS pointer.*git lfs",
    ),
    "page": (b"<!DOCTYPE html>\n<html><title>Sign in</title></html>", "web page"),
    "page, other letters": (b"\xef\xbb\xbf \n<HTML lang=en>" + b"x" * 3000, "web page"),
    "storage's error": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "web page"),
    "server's error": (b'{"error": "Entry not found"}', "JSON"),
    "empty": (b"", "empty"),
    "cut": (saved(GOOD)[:700], "cut short"),
    "text": (b"weights go here", "cut short"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(99), "cut short, or no file of PyTorch"),
    "gzip": (b"\x1f\x8b\x08" + bytes(99), "compressed"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5"),
    "safetensors": (len(HEADER).to_bytes(8, "little") + HEADER + bytes(4), "safetensors"),
    "onnx": (b"\x08\x07\x12\x07pytorch" + bytes(99), "ONNX"),
    "packed bundle": (archive(), "zip archive without weights"),
    "TorchScript": (script(), "exported program"),
    "whole network": (saved(network()), r"more than tensors.*state_dict\(\)"),
    "old whole network": (b"", r"more than tensors.*state_dict\(\)"),
    "tensor": (saved(torch.zeros(3)), "holds a Tensor"),
    "list": (saved([GOOD]), "holds a list"),
    "nothing": (saved({}), "no entry"),
    "numbers": (saved(dict.fromkeys(GOOD, 1.0)), "no state dict"),
    "training": (saved(TRAINING), r"resumed from: give .*model\.pt"),
    "two": (saved({"raw": GOOD, "ema": GOOD}), "entries raw, ema"),
    "not finite": (saved(NOT_FINITE), r"not finite \(0.weight\)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_holds_no_weights_is_named_with_a_way_out(tmp_path, name):
    content, said = WRONG[name]
    file = tmp_path / "weights.pt"
    if name == "old whole network":
        torch.save(network(), file, _use_new_zipfile_serialization=False)
    else:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=said) as caught:
        read_weights(file)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(ConfigError, match="is not there"):
        read_weights(tmp_path / "model.pt")
    with pytest.raises(ConfigError, match="is a folder"):
        read_weights(tmp_path)


def test_the_loader_names_the_file(tmp_path):
    file = tmp_path / "model.pt"
    loaded = network()
    nn.init.zeros_(loaded[0].weight)
    torch.save(prefixed("module."), file)
    engine = Engine(lambda engine, batch: None)
    WeightsCheckpointLoader(str(file), {"model": loaded}).attach(engine)
    engine.run([0], max_epochs=1)
    assert torch.equal(loaded[0].weight, GOOD["0.weight"])


def test_weights_that_do_not_fit_are_named(tmp_path):
    file = tmp_path / "model.pt"
    tasks = {"a": {"kind": "classification", "out_channels": 2}}
    net = make_network(architecture="hps", tasks=tasks, spatial_dims=2, in_channels=1, channels=[8, 8], norm="BATCH")
    torch.save({"state_dict": {f"net.{name}": value for name, value in net.state_dict().items()}}, file)
    engine = Engine(lambda engine, batch: None)
    WeightsCheckpointLoader(str(file), {"model": net}).attach(engine)
    with pytest.raises(ConfigError, match=r"model\.pt: these weights .* All of their names begin with 'net\.'"):
        engine.run([0], max_epochs=1)
