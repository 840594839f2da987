# SPDX-License-Identifier: Apache-2.0
"""What docs/ENCODERS.md shows is executed."""

from __future__ import annotations

import doctest
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from monai.networks.nets.flexible_unet import FLEXUNET_BACKBONE
from monai.networks.nets.resnet import ResNetFeatures

PAGE = Path(__file__).resolve().parents[2] / "docs" / "ENCODERS.md"


def test_the_page_is_right(tmp_path, monkeypatch):
    """With a file as MedicalNet's are, and a stand-in for timm."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(FLEXUNET_BACKBONE, "register_dict", dict(FLEXUNET_BACKBONE.register_dict))
    resnet = ResNetFeatures("resnet10", pretrained=False)
    weights = {f"module.{name}": value for name, value in resnet.state_dict().items()}
    torch.save({"state_dict": weights}, "resnet_10_23dataset.pth")
    # timm needs torchvision, and its weights are on a hub.
    small = lambda name, features_only, in_chans, pretrained: ResNetFeatures("resnet10", False, 2, in_chans)  # noqa: E731
    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=small))
    result = doctest.testfile(str(PAGE), module_relative=False)
    assert result.attempted > 15 and result.failed == 0
