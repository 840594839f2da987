# SPDX-License-Identifier: Apache-2.0
"""Backbones as the shared encoder: one tester over encoders, architectures and kinds of tasks."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from monai.networks.blocks import BaseEncoder
from monai.networks.nets.flexible_unet import FLEXUNET_BACKBONE
from monai.networks.nets.resnet import ResNetFeatures
from torch import nn

from ctan_networks.blocks.backbone import ZeroPadShortcut
from ctan_networks.errors import ConfigError
from ctan_networks.nets import ARCHITECTURES, make_network

SEGMENTATION = {"lesion": {"kind": "segmentation", "out_channels": 2}}
REGRESSION = {"dose": {"kind": "regression", "out_channels": 1}}
CLASSIFICATION = {"grade": {"kind": "classification", "out_channels": 3}}
TASKS = SEGMENTATION | REGRESSION | CLASSIFICATION
KINDS = (SEGMENTATION, REGRESSION, CLASSIFICATION)


class SmallBackbone(nn.Module):
    """Three maps at strides 2, 4 and 8, and a classifier that none of them needs."""

    def __init__(self, spatial_dims: int, in_channels: int, pretrained: bool, strides=(2, 2, 2), dense=True) -> None:
        super().__init__()
        conv, norm = (nn.Conv2d, nn.BatchNorm2d) if spatial_dims == 2 else (nn.Conv3d, nn.BatchNorm3d)
        widths = (in_channels, 4, 6, 8)
        self.dense = dense
        self.stages = nn.ModuleList(
            nn.Sequential(conv(widths[k], widths[k + 1], 3, stride, 1), norm(widths[k + 1]), nn.ReLU())
            for k, stride in enumerate(strides)
        )
        self.fc = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        maps: list[torch.Tensor] = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class SmallEncoder(SmallBackbone, BaseEncoder):
    names = ("small", "no-strides")

    @classmethod
    def get_encoder_names(cls):
        return list(cls.names)

    @classmethod
    def get_encoder_parameters(cls):
        given = {"spatial_dims": 2, "in_channels": 3, "pretrained": False}
        return [given, given | {"strides": (2, 1, 2)}]

    @classmethod
    def num_outputs(cls):
        return [3, 3]

    @classmethod
    def num_channels_per_output(cls):
        return [(4, 6, 8)] * 2


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setattr(FLEXUNET_BACKBONE, "register_dict", dict(FLEXUNET_BACKBONE.register_dict))
    FLEXUNET_BACKBONE.register_class(SmallEncoder)


def small(architecture: str, encoder: str = "small", tasks: dict = TASKS, dims: int = 2, **kwargs) -> nn.Module:
    arguments = {"spatial_dims": dims, "in_channels": 3, "channels": (8,) * 4 + (12,), "norm": "BATCH"} | kwargs
    return make_network(architecture, tasks, encoder=encoder, **arguments)


ENCODERS = [
    *itertools.product(ARCHITECTURES, ("small",), (2, 3)),
    *itertools.product(ARCHITECTURES, ("efficientnet-lite0",), (2,)),
    pytest.param("ctan", "resnet18", 2, marks=pytest.mark.slow),
    pytest.param("ctan", "efficientnet-b0", 3, marks=pytest.mark.slow),
    pytest.param("ctan", "resnet10", 3, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("architecture", "encoder", "dims"), ENCODERS)
def test_every_encoder_in_every_architecture(architecture, encoder, dims):
    """Any size, a gradient for every parameter, each owned once; the same numbers scripted and exported."""
    network = small(architecture, encoder, dims=dims)
    size = ((19, 22, 9) if encoder == "small" else (35, 31, 32))[:dims]
    x = torch.randn(2, 3, *size)
    out = network(x)
    assert {task: tuple(y.shape) for task, y in out.items()} == {
        task: (2, spec["out_channels"], *(() if spec["kind"] == "classification" else size))
        for task, spec in network.tasks.items()
    }
    sum(y.square().mean() for y in out.values()).backward()
    assert [key for key, p in network.named_parameters() if p.grad is None] == []
    owned = [network.shared_parameters(), *(network.task_parameters(task) for task in network.tasks)]
    assert sorted(id(p) for part in owned for p in part) == sorted(id(p) for p in network.parameters())
    network.eval()
    wanted = network(x)
    if encoder == "small" or architecture == "ctan":
        torch.testing.assert_close(torch.jit.script(network)(x), wanted)
    if architecture == "ctan":
        torch.testing.assert_close(torch.export.export(network, (x,)).module()(x), wanted)


@pytest.mark.parametrize(
    ("architecture", "tasks"),
    itertools.product(ARCHITECTURES, [a | b for a, b in itertools.combinations(KINDS, 2)] + list(KINDS)),
)
def test_any_kinds_of_tasks(architecture, tasks):
    network = small(architecture, tasks=tasks).eval()
    stacked = small(architecture, tasks=tasks, stacked=True).eval()
    stacked.load_state_dict(network.state_dict())
    x = torch.randn(1, 3, 17, 24)
    assert list(network(x)) == list(network.tasks)
    assert torch.isfinite(stacked(x)).all()


def test_crossing_reaches_the_bottleneck_through_the_deepest_map():
    """In CTAN the other task's mask of the deepest map, which is no skip feature, changes what a task sees."""
    network = small("ctan", tasks=SEGMENTATION | CLASSIFICATION).eval()
    assert len(network.attention) == 3 and network.stride == 8
    x = torch.randn(1, 3, 16, 24)
    before = network(x)["grade"]
    network.attention[2].mask["lesion"].register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
    assert not torch.equal(before, network(x)["grade"])


def test_what_no_map_needs_is_left_out():
    network = small("hps")
    assert network.encoder.removed == ["fc"]
    assert not any(".fc." in key for key in network.state_dict())


def test_architectures_share_the_encoders_start():
    states = [small(architecture, seed=4).state_dict() for architecture in ARCHITECTURES]
    keys = [key for key in states[0] if key.startswith("encoder.")]
    assert keys and all(torch.equal(states[0][key], state[key]) for key in keys for state in states[1:])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"encoder": "resnet9"}, "plain, efficientnet-b0"),
        ({"encoder": "no-strides"}, "sides of 64 it gives sides of 32, 32, 16"),
        ({"drop_path": 0.1}, "no stochastic depth"),
        ({"encoder": "plain", "drop_path": 0.1}, "no stochastic depth"),
        ({"encoder": "efficientnet-lite0", "drop_path": 1.5}, r"drop_path must lie in \[0, 1\)"),
        ({"freeze_encoder": 4}, "0 to 3"),
        ({"encoder_weights": "imagenet"}, "no ImageNet weights are known for the encoder 'small'"),
        ({"encoder": "efficientnet-lite0", "encoder_weights": "imagenet", "dims": 3}, "two dimensions"),
        ({"encoder_weights": "absent.pt"}, "absent.pt is not there"),
    ],
)
def test_wrong_arguments(arguments, said):
    with pytest.raises(ConfigError, match=said):
        small("ctan", **arguments)


def test_drop_path_rises_from_the_first_block_to_the_last():
    blocks = [
        m for m in small("hps", "efficientnet-lite0", drop_path=0.16).modules() if hasattr(m, "drop_connect_rate")
    ]
    rates = [block.drop_connect_rate for block in blocks if hasattr(block, "stride")]
    assert rates == pytest.approx([0.01 * n for n in range(16)])


@pytest.mark.parametrize("dims", [2, 3])
def test_shortcut_with_zeros_gives_the_numbers_of_monais(dims):
    """And a gradient, which MONAI's does not."""
    monais = ResNetFeatures("resnet18", pretrained=False, spatial_dims=dims, in_channels=1)
    x = torch.randn(2, 64, *(8, 6, 4)[:dims], requires_grad=True)
    y = ZeroPadShortcut(128, 2)(x)
    assert torch.equal(y, monais.layer2[0].downsample(x))
    y.sum().backward()
    assert x.grad.sum() == y[:, :64].numel()


# Freezing


@pytest.mark.parametrize(
    ("encoder", "stages", "levels"), [("small", 2, 3), ("plain", 1, 4), ("efficientnet-lite0", 3, 5)]
)
def test_frozen_stages_do_not_change_in_training(encoder, stages, levels):
    network = small("ctan", encoder, freeze_encoder=stages)
    before = copy.deepcopy(network.state_dict())
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        maps = [m.clone() for m in network.eval().encoder(x)[1]]
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network.eval()
    network.train()
    sum(y.square().mean() for y in network(torch.randn(2, 3, 64, 64)).values()).backward()
    optimizer.step()
    with torch.no_grad():
        after = network.eval().encoder(x)[1]
    assert [torch.equal(a, b) for a, b in zip(maps, after, strict=True)] == [k < stages for k in range(levels)]
    changed = {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert any("running_mean" in key for key in changed)
    frozen = [key for key, p in network.named_parameters() if not p.requires_grad]
    assert frozen and all(key.startswith("encoder.") for key in frozen) and not changed.intersection(frozen)


def test_a_copy_keeps_its_own_frozen_stages():
    network = small("hps", freeze_encoder=3)
    again = copy.deepcopy(network).train()
    assert not again.encoder.backbone.stages[0].training and again.branches.training
    assert not any(p.requires_grad for p in again.encoder.parameters())


# Weights


def saved(folder, change=None, **kwargs):
    """The weights of a backbone with its classifier, as a file."""
    backbone = SmallBackbone(2, kwargs.pop("in_channels", 3), False)
    weights = backbone.state_dict()
    weights = change(weights) if change else weights
    torch.save(weights, folder / "weights.pt")
    return folder / "weights.pt", weights


@pytest.mark.parametrize(
    "change",
    [
        None,
        lambda w: {key: value for key, value in w.items() if not key.startswith("fc.")},
        lambda w: w | {"fc.weight": torch.zeros(9, 8), "fc.bias": torch.zeros(9)},
        lambda w: {key: value for key, value in w.items() if not key.endswith("num_batches_tracked")},
        lambda w: {f"module.{key}": value for key, value in w.items()},
        lambda w: {"state_dict": w, "epoch": 3},
    ],
    ids=["all", "without classifier", "another classifier", "without counters", "in a wrapper", "in a checkpoint"],
)
def test_weights_of_a_file_are_those_of_the_encoder(tmp_path, change):
    file, weights = saved(tmp_path, change)
    weights = {name.removeprefix("module."): value for name, value in weights.get("state_dict", weights).items()}
    network = small("ctan", encoder_weights=str(file))
    for key, value in network.encoder.backbone.state_dict().items():
        assert key.endswith("num_batches_tracked") or torch.equal(value, weights[key]), key


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: {key: value for key, value in w.items() if "stages.1.0" not in key}, "2 parameters are missing"),
        (lambda w: w | {"more": torch.zeros(1)}, "do not belong to it .more."),
        (lambda w: w | {"stages.1.0.bias": torch.zeros(7)}, r"stages.1.0.bias \(7,\) for \(6,\)"),
        (lambda w: {f"net.{key}": value for key, value in w.items()}, "begin with 'net.'"),
        (lambda w: {"raw": w, "ema": w}, "entries raw, ema"),
        (lambda w: [1, 2], "holds a list"),
        (lambda w: SmallBackbone, "more than tensors"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, change, said):
    file, _ = saved(tmp_path, change)
    with pytest.raises(ConfigError, match=said):
        small("ctan", encoder_weights=file)


def test_weights_for_rgb_give_the_same_for_a_grey_image_of_one_channel(tmp_path):
    file, _ = saved(tmp_path)
    colour, grey = (small("hps", encoder_weights=file, in_channels=n).eval() for n in (3, 1))
    x = torch.randn(1, 1, 16, 16)
    for a, b in zip(colour.encoder(x.expand(-1, 3, -1, -1))[1], grey.encoder(x)[1], strict=True):
        torch.testing.assert_close(a, b)


def test_weights_for_other_channels_are_refused(tmp_path):
    file, _ = saved(tmp_path)
    with pytest.raises(ConfigError, match="3 input channels, the network has 4"):
        small("hps", encoder_weights=file, in_channels=4)


def test_plain_encoder_starts_from_another_networks(tmp_path):
    first = small("ctan", "plain", seed=1)
    torch.save(first.encoder.state_dict(), tmp_path / "encoder.pt")
    second = small("hps", "plain", seed=2, encoder_weights=tmp_path / "encoder.pt")
    assert all(torch.equal(v, second.encoder.state_dict()[k]) for k, v in first.encoder.state_dict().items())


@pytest.mark.parametrize("encoder", ["plain", "small"])
def test_an_encoder_starts_from_a_whole_network(tmp_path, encoder):
    first = small("ctan", encoder, seed=1)
    torch.save(first.state_dict(), tmp_path / "model.pt")
    second = small("stl", encoder, seed=2, encoder_weights=tmp_path / "model.pt")
    assert all(torch.equal(v, second.encoder.state_dict()[k]) for k, v in first.encoder.state_dict().items())


@pytest.mark.parametrize(("network", "weights", "said"), [("plain", "small", "--encoder"), ("small", "plain", "plain")])
def test_a_checkpoint_of_another_encoder_says_so(network, weights, said):
    with pytest.raises(ConfigError, match=f"Their encoder is .*{said}"):
        small("ctan", network).load_state_dict(small("ctan", weights).state_dict())
