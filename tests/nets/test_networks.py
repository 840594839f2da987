# SPDX-License-Identifier: Apache-2.0
"""One tester for all four networks."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from ctan_networks.blocks import split_stacked
from ctan_networks.errors import ConfigError
from ctan_networks.nets import ARCHITECTURES, CTAN, MTAN, SingleTask, make_network

TASKS = {
    "organs": {"kind": "segmentation", "out_channels": 3},
    "dose": {"kind": "regression", "out_channels": 1},
    "grade": {"kind": "classification", "out_channels": 4},
}
TWO = {name: TASKS[name] for name in ("organs", "dose")}
ALL = list(itertools.product(ARCHITECTURES, (2, 3), (1, 2)))


def small(architecture: str, tasks: dict = TASKS, dims: int = 3, stem: int = 2, **kwargs) -> nn.Module:
    arguments = {"spatial_dims": dims, "in_channels": 1, "channels": (4, 8, 12), "stem_stride": stem} | kwargs
    return make_network(architecture, tasks, **arguments)


def expected(network: nn.Module, size: tuple[int, ...], batch: int) -> dict:
    return {
        name: (batch, spec["out_channels"], *(() if spec["kind"] == "classification" else size))
        for name, spec in network.tasks.items()
    }


@pytest.mark.parametrize(("architecture", "dims", "stem"), ALL)
def test_any_size_gives_outputs_of_the_input_size(architecture, dims, stem):
    network = small(architecture, dims=dims, stem=stem)
    for size in ((16, 24, 8)[:dims], (19, 22, 9)[:dims]):
        out = network(torch.randn(2, 1, *size))
        assert {name: tuple(t.shape) for name, t in out.items()} == expected(network, size, 2)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_number_of_tasks(architecture, count):
    tasks = dict(itertools.islice(TASKS.items(), count))
    network = small(architecture, tasks)
    assert list(network(torch.randn(1, 1, 16, 16, 16))) == list(network.tasks)
    assert len(network.tasks) == (1 if architecture == "stl" else count)


def test_padding_changes_nothing_inside():
    """An input whose sides are no multiples gives what the border-repeated input gives, cropped."""
    network = small("ctan").eval()
    x = torch.randn(1, 1, 13, 16, 22)
    padded = nn.functional.pad(x, (0, 2, 0, 0, 0, 3), mode="replicate")
    for task in ("organs", "dose"):
        torch.testing.assert_close(network(x)[task], network(padded)[task][:, :, :13, :16, :22])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_too_small_input_names_size_and_multiple(architecture):
    with pytest.raises(ValueError, match=r"\[8, 7, 3\].*8 voxels"):
        small(architecture)(torch.randn(1, 1, 8, 7, 3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spatial_dims": 1}, "spatial_dims"),
        ({"channels": (8,)}, "channels"),
        ({"dropout": 1.0}, "dropout"),
        ({"stem_stride": 0}, "stem_stride"),
        ({"tasks": {}}, "at least one task"),
        ({"tasks": {"a b": {"kind": "regression"}}}, "task name"),
        ({"tasks": {"keys": {"kind": "regression"}}}, "task name"),
        ({"tasks": {"a": {"kind": "detection"}}}, "detection"),
        ({"tasks": {"a": {"kind": "regression", "out_channels": 0}}}, "out_channels"),
        (
            {"tasks": {"a": {"kind": "regression", "channels": 2}}},
            "'a': there is no channels. Did you mean out_channels",
        ),
        ({"architecture": "unet"}, "ctan, mtan, hps, stl"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message):
        make_network(**({"architecture": "ctan", "tasks": TASKS, "spatial_dims": 3, "in_channels": 1} | arguments))


def test_single_task_refuses_an_unknown_task():
    with pytest.raises(ConfigError, match="organs, dose, grade"):
        small("stl", task="lungs")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_parameter_is_shared_or_one_tasks(architecture):
    network = small(architecture)
    owned = [network.shared_parameters(), *(network.task_parameters(task) for task in network.tasks)]
    seen = [id(p) for part in owned for p in part]
    assert sorted(seen) == sorted(id(p) for p in network.parameters())
    with pytest.raises(ConfigError, match="no task"):
        next(network.task_parameters("nothing"))


@pytest.mark.parametrize("architecture", ["ctan", "mtan", "hps"])
def test_gradients_of_one_task_reach_its_own_and_shared_parameters_only(architecture):
    """HPS and MTAN keep tasks apart; in CTAN one task's loss reaches the other's attention, never its decoder."""
    network = small(architecture, TWO)
    for module in network.modules():
        if hasattr(module, "log_temperature"):
            nn.init.ones_(module.scale)
    network(torch.randn(1, 1, 16, 16, 16))["dose"].sum().backward()
    assert all(p.grad is not None for p in network.shared_parameters())
    reached = [p for p in network.task_parameters("organs") if p.grad is not None and p.grad.abs().sum() > 0]
    assert bool(reached) == (architecture == "ctan")
    assert all(p.grad is None for p in network.branches["organs"].parameters())


@pytest.mark.parametrize(("architecture", "crosses"), [("ctan", True), ("mtan", False)])
def test_attention_of_the_other_task_matters_in_ctan_alone(architecture, crosses):
    network = small(architecture, TWO).eval()
    x = torch.randn(1, 1, 16, 16, 16)
    before = network(x)["organs"]
    for level in network.attention:
        level.mask["dose"].register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
    assert torch.equal(before, network(x)["organs"]) != crosses


def test_bottleneck_is_off_at_the_start_and_crosses_when_on():
    network = small("ctan", TWO).eval()
    without = small("ctan", TWO, attention_bottleneck=False).eval()
    x = torch.randn(1, 1, 16, 16, 16)
    assert torch.equal(network(x)["dose"], without(x)["dose"])
    own = network.bottleneck.attention["dose"]
    with torch.no_grad():
        own.scale.fill_(1.0)
    features = [torch.randn(1, 12, 2, 2, 2), torch.randn(1, 12, 2, 2, 2)]
    other, dose = network.bottleneck(features)
    assert torch.equal(other, features[0])
    # The definition, written out: softmax of the other task's cosines, applied to this task's values.
    tokens = nn.functional.normalize(features[0].flatten(2)[0].T, dim=1)
    attention = torch.softmax(tokens @ tokens.T * own.log_temperature.exp(), dim=1)
    values = own.value(features[1]).flatten(2)[0].T
    wanted = features[1] + (attention @ values).T.reshape(features[1].shape)
    torch.testing.assert_close(dose, wanted)


def test_ctan_with_one_task_is_the_single_task_network():
    one = {"dose": TASKS["dose"]}
    ctan, single = small("ctan", one), small("stl", one)
    assert isinstance(ctan, CTAN) and isinstance(single, SingleTask)
    assert ctan.state_dict().keys() == single.state_dict().keys()
    x = torch.randn(1, 1, 16, 16, 16)
    assert torch.equal(ctan(x)["dose"], single(x)["dose"])
    assert any(name.startswith("attention") for name in MTAN(3, 1, one).state_dict())


def test_architectures_start_with_the_same_shared_weights():
    states = [small(architecture, TWO, seed=3).state_dict() for architecture in ("ctan", "mtan", "hps")]
    states.append(small("stl", TWO, task="dose", seed=3).state_dict())
    for name in states[3]:
        for state in states[:3]:
            assert torch.equal(state[name], states[3][name]), name
    other = small("hps", TWO, seed=4).state_dict()
    assert not torch.equal(other["encoder.levels.0.first.conv.weight"], states[2]["encoder.levels.0.first.conv.weight"])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("tasks", [TASKS, TWO, {"grade": TASKS["grade"]}, {"dose": TASKS["dose"]}], ids=len)
def test_stacked_form_has_the_same_weights_and_numbers(architecture, tasks):
    network, stacked = small(architecture, tasks).eval(), small(architecture, tasks, stacked=True).eval()
    stacked.load_state_dict(network.state_dict())
    x = torch.randn(2, 1, 16, 16, 16)
    whole, parts = stacked(x), network(x)
    for task, tensor in split_stacked(whole, network.tasks).items():
        torch.testing.assert_close(tensor, parts[task])
    if "organs" in network.tasks:
        torch.testing.assert_close(whole[:, :1], -parts["organs"].amax(1, keepdim=True))
        # Channel k is label k: the arg max over the label channels is the strongest structure, or the background.
        label = whole[:, :4].argmax(1)
        assert torch.equal(label > 0, (parts["organs"] > 0).any(1))


def test_split_refuses_another_number_of_channels():
    with pytest.raises(ValueError, match="9 stacked channels"):
        split_stacked(torch.zeros(1, 7, 4, 4), TASKS)


@pytest.mark.parametrize(("architecture", "dims", "stacked"), itertools.product(ARCHITECTURES, (2, 3), (False, True)))
def test_script_and_export_give_the_same_numbers(architecture, dims, stacked):
    network = small(architecture, dims=dims, stacked=stacked).eval()
    x = torch.randn(2, 1, *(16, 19, 24)[:dims])
    wanted = network(x)
    for exported in (torch.jit.script(network), torch.export.export(network, (x,)).module()):
        torch.testing.assert_close(exported(x), wanted)


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize(
    # What the others are made of is in these two.
    "architecture",
    [a if a in ("ctan", "stl") else pytest.param(a, marks=pytest.mark.slow) for a in ARCHITECTURES],
)
def test_onnx_gives_the_same_numbers(architecture, stacked, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    network = small(architecture, TASKS, stacked=stacked).eval()
    if architecture == "ctan":
        with torch.no_grad():
            network.bottleneck.attention["dose"].scale.fill_(0.5)
    x = torch.randn(1, 1, 16, 16, 16)
    wanted = network(x)
    file = tmp_path / "network.onnx"
    torch.onnx.export(network, (x,), str(file), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    got = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    for value, tensor in zip(got, wanted.values() if isinstance(wanted, dict) else [wanted], strict=True):
        torch.testing.assert_close(torch.from_numpy(value), tensor, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", ["INSTANCE", "BATCH", ("GROUP", {"num_groups": 2})])
def test_norm_act_and_dropout_are_monais(norm):
    network = small("ctan", norm=norm, act=["prelu", {"init": 0.1}], dropout=0.2)
    out = network(torch.randn(2, 1, 16, 16, 16))
    assert all(torch.isfinite(t).all() for t in out.values())
    assert any(isinstance(m, nn.PReLU) for m in network.modules())
    assert any(isinstance(m, nn.Dropout) and m.p == 0.2 for m in network.modules())


def test_stem_sees_each_block_of_voxels_once():
    """With a stem of 2 a voxel reaches exactly the block it lies in: nothing is lost, nothing is read twice."""
    network = small("stl", {"dose": TASKS["dose"]}, stem=2)
    stem = network.encoder.stem
    x = torch.zeros(1, 1, 8, 8, 8)
    x[0, 0, 3, 4, 5] = 1
    changed = (stem(x) - stem(torch.zeros_like(x))).abs().sum(1)[0].nonzero()
    assert changed.tolist() == [[1, 2, 2]]


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (lambda: small("mtan").state_dict(), "--architecture"),
        (lambda: small("ctan", channels=(4, 8, 16)).state_dict(), "another shape"),
        (lambda: {f"module.{k}": v for k, v in small("ctan").state_dict().items()}, "begin with 'module.'"),
        (lambda: {"state_dict": small("ctan").state_dict(), "epoch": 3}, "state_dict, epoch"),
        (
            lambda: {k: v for k, v in small("ctan").state_dict().items() if not k.startswith("branches.dose")},
            "are missing",
        ),
        (dict, "are missing"),
    ],
)
def test_weights_of_another_network_are_an_error_however_they_are_loaded(weights, said, strict):
    network = small("ctan", seed=1)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with pytest.raises(ConfigError, match=said):
        network.load_state_dict(weights(), strict=strict)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_weights_that_fit_are_loaded_and_more_entries_may_be_allowed():
    weights = small("ctan", seed=2).state_dict()
    network = small("ctan", seed=1)
    network.load_state_dict(weights | {"more": torch.zeros(1)}, strict=False)
    assert all(torch.equal(v, weights[k]) for k, v in network.state_dict().items())
    with pytest.raises(ConfigError, match="do not belong"):
        network.load_state_dict(weights | {"more": torch.zeros(1)})
