# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from monai.inferers import SimpleInferer, SlidingWindowInferer

from ctan_networks.blocks.stacking import stack_outputs
from ctan_networks.engines import TestTimeAugmentation
from ctan_networks.errors import ConfigError

TASKS = {
    "seg": {"kind": "segmentation", "out_channels": 3},
    "dose": {"kind": "regression", "out_channels": 1},
    "cls": {"kind": "classification", "out_channels": 2},
}
STRUCTURES = {"seg": ["left", "middle", "right"]}
PAIRS = [["left", "right"]]


def symmetric(x: torch.Tensor) -> dict[str, torch.Tensor]:
    """A network that finds left and right by where the input is: it knows a mirror image for what it is."""
    width = x.shape[3]
    ramp = torch.linspace(-1, 1, width)[None, None, None, :, None]
    seg = torch.cat([x[:, :1] * ramp, x[:, :1], -x[:, :1] * ramp], dim=1)
    return {"seg": seg, "dose": x[:, :1] * 2, "cls": torch.stack([x.mean((1, 2, 3, 4)), x[:, 0].amax((1, 2, 3))], 1)}


def one_sided(x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Says more on one side than on the other, whatever is there."""
    ramp = torch.arange(x.shape[3], dtype=torch.float32)[None, None, None, :, None].expand(len(x), 1, *x.shape[2:])
    return {"seg": ramp.repeat(1, 3, 1, 1, 1), "dose": ramp.clone(), "cls": torch.zeros(len(x), 2)}


def make(inferer=None, **kwargs) -> TestTimeAugmentation:
    defaults = {"axis": 1, "inputs": ["ct"], "structures": STRUCTURES, "pairs": PAIRS}
    return TestTimeAugmentation(inferer or SimpleInferer(), TASKS, **(defaults | kwargs))


def test_a_network_without_a_preference_for_a_side_says_the_same():
    x = torch.rand(2, 1, 3, 4, 2, generator=torch.Generator().manual_seed(0))
    found, plain = make()(x, symmetric), symmetric(x)
    for task in TASKS:
        same = found[task].softmax(1) if task == "cls" else found[task]
        expected = plain[task].softmax(1) if task == "cls" else plain[task]
        torch.testing.assert_close(same, expected, atol=1e-5, rtol=1e-5)
    assert found["dose_uncertainty"].abs().max() < 1e-4
    p = plain["seg"].sigmoid().double()
    torch.testing.assert_close(
        found["seg_uncertainty"].double(), torch.distributions.Bernoulli(p).entropy() / torch.log(torch.tensor(2.0)),
        atol=1e-5, rtol=1e-5,
    )  # fmt: skip


def test_what_depends_on_the_side_is_averaged_and_told():
    found = make()(torch.zeros(1, 1, 2, 5, 2), one_sided)
    # 0..4 and 4..0: the mean is 2 everywhere, the members are 4, 2, 0, 2, 4 apart.
    assert torch.allclose(found["dose"], torch.full_like(found["dose"], 2.0))
    assert found["dose_uncertainty"][0, 0, 0, :, 0].tolist() == pytest.approx([2, 1, 0, 1, 2], abs=1e-6)
    assert found["cls_uncertainty"].tolist() == [[pytest.approx(1.0)]]
    mean = (torch.sigmoid(torch.arange(5.0)) + torch.sigmoid(torch.arange(5.0).flip(0))) / 2
    assert found["seg"][0, 1, 0, :, 0].sigmoid().tolist() == pytest.approx(mean.tolist(), abs=1e-6)


def test_paired_input_channels_change_places():
    seen = []

    def network(x: torch.Tensor) -> dict[str, torch.Tensor]:
        seen.append(x)
        return symmetric(x)

    x = torch.rand(1, 3, 2, 4, 2)
    make(inputs=["ct", "left", "right"], scales=[1.0, 1.5])(x, network)
    assert len(seen) == 4 and torch.equal(seen[0], x)
    assert torch.equal(seen[1][:, 1], x[:, 2].flip(2)) and torch.equal(seen[1][:, 0], x[:, 0].flip(2))
    assert torch.equal(seen[2][:, :1], x[:, :1] * 1.5) and torch.equal(seen[2][:, 1:], x[:, 1:])


def test_stacked_outputs_and_windows():
    x = torch.rand(1, 1, 6, 8, 6)

    def stacked(window: torch.Tensor) -> torch.Tensor:
        out = symmetric(window)
        return stack_outputs(out | {"cls": out["cls"] * 0}, ["seg"], ["dose"], ["cls"])

    found = make(SlidingWindowInferer(roi_size=(4, 8, 4), overlap=0.5))(x, stacked)
    assert found["seg"].shape == (1, 3, 6, 8, 6) and found["dose_uncertainty"].shape == (1, 1, 6, 8, 6)
    torch.testing.assert_close(found["dose"], 2 * x, atol=1e-5, rtol=1e-5)


def test_off_it_hands_on_what_the_inferer_returns():
    x = torch.rand(1, 1, 2, 4, 2)
    assert torch.equal(make(enabled=False)(x, symmetric)["seg"], symmetric(x)["seg"])


def test_errors():
    with pytest.raises(ConfigError, match="right has no partner|left has no partner"):
        make(inputs=["ct", "left"])
    with pytest.raises(ConfigError, match="at least one factor"):
        make(scales=[])


def test_several_axes_are_mirrored_in_every_combination():
    """Partners change places with the first axis alone; the mean knows no corner."""
    seen = []

    def network(x: torch.Tensor) -> dict[str, torch.Tensor]:
        seen.append(x)
        return {"seg": x[:, :1].repeat(1, 3, 1, 1, 1), "dose": x, "cls": x.mean((1, 2, 3, 4))[:, None].repeat(1, 2)}

    x = torch.rand(1, 1, 3, 4, 2, generator=torch.Generator().manual_seed(0))
    corner = torch.zeros_like(x)
    corner[..., 0, 0, 0] = 1.0
    found = make(axis=[1, 0])(x, lambda given: network(given) | {"dose": corner})
    for given, dims in zip(seen, ([], [2], [3], [2, 3]), strict=True):
        assert torch.equal(given, x.flip(dims))
    quarter = torch.zeros(1, 1, 3, 4, 2)
    quarter[:, :, ::2, ::3, 0] = 0.25
    torch.testing.assert_close(found["dose"], quarter)
    torch.testing.assert_close(found["seg"].sigmoid(), x.sigmoid().repeat(1, 3, 1, 1, 1), atol=1e-6, rtol=0)
