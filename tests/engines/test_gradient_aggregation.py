# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import sys

import pytest
import torch
from monai.engines import SupervisedTrainer

from ctan_networks.engines import GradientAggregation, gradient_step
from ctan_networks.errors import ConfigError
from ctan_networks.losses import DiceBCELoss, MaskedCrossEntropyLoss, MultiTaskLoss
from ctan_networks.nets import make_network

TASKS = {
    "segmentation": {"kind": "segmentation", "out_channels": 1},
    "diagnosis": {"kind": "classification", "out_channels": 3},
}
BATCH = {
    "image": torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)),
    "segmentation": (torch.arange(16.0) > 7).expand(2, 1, 16, 16).float(),
    "diagnosis": torch.tensor([2, 0]),
}


def trained(architecture: str, step, batch=BATCH) -> tuple[dict[str, torch.Tensor], float]:
    """Gradients after one step, and the loss that was reported."""
    network = make_network(
        architecture, TASKS, spatial_dims=2, in_channels=3, channels=[4, 8, 8], norm=("GROUP", {"num_groups": 2})
    )
    loss = MultiTaskLoss({"segmentation": DiceBCELoss(), "diagnosis": MaskedCrossEntropyLoss()})
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=[copy.deepcopy(batch)],
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        loss_function=loss,
        prepare_batch=lambda b, *_, **__: (b["image"], {k: b[k] for k in TASKS}),
        iteration_update=step,
        decollate=False,
    )
    trainer.run()
    gradients = {name: p.grad for name, p in network.named_parameters()}
    return gradients, float(trainer.state.output["loss"])


@pytest.mark.parametrize("architecture", ["hps", "ctan"])
def test_the_sum_of_gradients_is_the_gradient_of_the_sum(architecture):
    plain, plain_loss = trained(architecture, None)
    ours, our_loss = trained(architecture, GradientAggregation(lambda jacobian: jacobian.sum(0)))
    assert our_loss == pytest.approx(plain_loss, rel=1e-6)
    for name, gradient in plain.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=1e-6)


def test_only_what_tasks_share_is_aggregated():
    """With the shared update set to zero, encoder gradients are zero and those of the branches are as ever."""
    seen = []

    def zero(jacobian):
        seen.append(jacobian)
        return torch.zeros(jacobian.shape[1])

    plain, _ = trained("hps", None)
    ours, _ = trained("hps", GradientAggregation(zero))
    (jacobian,) = seen
    assert len(jacobian) == 2 and jacobian.abs().sum(1).min() > 0
    assert jacobian.shape[1] == sum(g.numel() for n, g in plain.items() if n.startswith("encoder"))
    for name, gradient in plain.items():
        expected = torch.zeros_like(gradient) if name.startswith("encoder") else gradient
        torch.testing.assert_close(ours[name], expected, rtol=1e-4, atol=1e-6)


def test_a_batch_with_labels_of_one_task_is_a_plain_step():
    batch = BATCH | {"diagnosis": torch.tensor([-1, -1])}
    ours, _ = trained("hps", GradientAggregation(lambda jacobian: pytest.fail("nothing to aggregate")), batch)
    plain, _ = trained("hps", None, batch)
    for name, gradient in ours.items():
        if gradient is not None:
            torch.testing.assert_close(gradient, plain[name], rtol=1e-4, atol=1e-6)


def test_names():
    assert gradient_step("equal") is None and gradient_step("dwa") is None


def test_without_torchjd_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchjd", None)
    with pytest.raises(ConfigError, match=r"pip install \"ctan-networks\[torchjd\]\""):
        gradient_step("pcgrad")


@pytest.mark.parametrize("name", ["pcgrad", "upgrad", "cagrad", "mgda", "imtl_g", "aligned_mtl", "graddrop"])
def test_torchjd_methods_train(name):
    pytest.importorskip("torchjd")
    gradients, _ = trained("ctan", gradient_step(name))
    assert all(torch.isfinite(g).all() for g in gradients.values() if g is not None)
