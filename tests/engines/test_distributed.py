# SPDX-License-Identifier: Apache-2.0
"""What several processes do together, tried with two on the CPU."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import IgniteMetricHandler, from_engine
from torch import nn

from ctan_networks import engines
from ctan_networks.data.epoch_sampler import EpochSampler, ShareSampler
from ctan_networks.errors import ConfigError, DataError
from ctan_networks.handlers import FiniteSteps, ProbabilityTable, StepSeed, TrainingCheckpoint, WeightAverage
from ctan_networks.metrics import ClassificationScore, StructureDice
from ctan_networks.nets import make_network
from ctan_networks.processes import gather_in_turn, in_turn
from ctan_networks.reports.report import Report
from ctan_networks.reports.sections.classification import ClassificationSection
from ctan_networks.reports.sections.segmentation import SegmentationSection

WRITTEN = re.compile(r"written \d{4}-\d\d-\d\d \d\d:\d\d UTC")
ENVIRONMENT = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
TASKS = {
    "segmentation": {"kind": "segmentation", "out_channels": 2},
    "diagnosis": {"kind": "classification", "out_channels": 3},
}


def case(number: int) -> dict:
    draw = torch.Generator().manual_seed(number)
    return {
        "case": f"case {number}",
        "predicted_segmentation": (torch.rand(2, 9, 9, generator=draw) > 0.5).float(),
        "reference_segmentation": (torch.rand(2, 9, 9, generator=draw) > 0.5).float(),
        "predicted_diagnosis": torch.rand(3, generator=draw).softmax(0),
        "reference_diagnosis": torch.tensor(number % 3),
    }


def evaluate(count: int, several: bool, batch_size: int = 1) -> dict[str, float]:
    data = Dataset([case(number) for number in range(count)])
    sampler = ShareSampler(data) if several else None
    evaluator = (engines.DistributedEvaluator if several else SupervisedEvaluator)(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(data, batch_size=batch_size, sampler=sampler, shuffle=False),
        network=nn.Identity(),
        iteration_update=lambda engine, batch: [
            {key: value[k] for key, value in batch.items()} for k in range(len(batch["case"]))
        ],
        key_val_metric={
            "dice": IgniteMetricHandler(
                StructureDice(), output_transform=from_engine(["predicted_segmentation", "reference_segmentation"])
            )
        },
        additional_metrics={
            "auc": IgniteMetricHandler(
                ClassificationScore("roc_auc"),
                output_transform=from_engine(["predicted_diagnosis", "reference_diagnosis"]),
            )
        },
        decollate=False,
    )
    evaluator.run(3)
    return dict(evaluator.state.metrics)


def predict(count: int, folder: str) -> None:
    """A table of probabilities, whose rows must stand in the order of the list."""
    table = ProbabilityTable(f"{folder}/table.csv", {"diagnosis": ["a", "b", "c"]}, every=0)
    engine = Engine(lambda engine, number: [case(number)])
    table.attach(engine)
    engine.run(list(ShareSampler(range(count))))


def report(count: int, folder: str) -> None:
    """An evaluation's files, with pictures of fewer cases than there are."""
    sections = [
        SegmentationSection("lesion", metrics=["dice", "jaccard"]),
        ClassificationSection("diagnosis", ["a", "b", "c"]),
    ]
    writer = Report(f"{folder}/report", sections, max_figures=3, image_key="photo")

    def step(engine: Engine, number: int) -> list[dict]:
        made = case(number)
        masks = {f"{kind}_lesion": made[f"{kind}_segmentation"][:1] for kind in ("predicted", "reference")}
        photo = torch.full((3, 9, 9), 10.0 * number)
        return [{key: value for key, value in made.items() if "segm" not in key} | masks | {"photo": photo}]

    engine = Engine(step)
    writer.attach(engine)
    engine.run(list(ShareSampler(range(count))))


def train(folder: str) -> dict:
    """A network with batch norm, whose running statistics differ from process to process on the CPU."""
    torch.manual_seed(dist.get_rank())  # DistributedDataParallel starts from the first process's parameters
    network, average = (nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)) for _ in range(2))
    called = engines.wrap(network, engines.local_device())
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)

    def step(engine: Engine, number: int) -> None:
        optimizer.zero_grad()
        called(torch.randn(2, 1, 5, 5)).square().mean().backward()
        optimizer.step()
        engine.state.draws = float(torch.rand(()))

    engine, evaluator = Engine(step), Engine(lambda engine, number: None)
    StepSeed(0).attach(engine)
    WeightAverage(network, average, 0.5).attach(engine)
    evaluator.state.key_metric_name = "score"
    evaluator.add_event_handler(Events.STARTED, lambda e: setattr(e.state, "metrics", {"score": 1.0}))
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda e: evaluator.run([0]))
    objects = {"network": network, "optimizer": optimizer}
    TrainingCheckpoint(f"{folder}/{dist.get_rank()}", objects, average, evaluator, {}, keep="last").attach(engine)
    engine.run([0] * 3, max_epochs=2)
    return {
        "draw": engine.state.draws,
        "network": torch.cat([p.flatten() for p in network.parameters()]).tolist(),
        "average": torch.cat([v.flatten().float() for v in average.state_dict().values()]).tolist(),
    }


def train_backbone() -> dict:
    """CTAN on a backbone whose first stage is frozen, with stochastic depth."""
    network = make_network(
        "ctan", TASKS, spatial_dims=2, in_channels=1, channels=(8, 8), encoder="efficientnet-lite0", freeze_encoder=1,
        drop_path=0.5,
    )  # fmt: skip
    first = network.encoder.backbone._bn0
    before = [value.clone() for value in (first.weight, first.running_mean)]
    called = engines.wrap(network, engines.local_device())
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.01)
    for step in range(2):
        torch.manual_seed(10 * step + dist.get_rank())
        optimizer.zero_grad()
        sum(y.square().mean() for y in called.train()(torch.randn(2, 1, 64, 64)).values()).backward()
        optimizer.step()
    return {
        "same": float(sum(p.double().sum() for p in network.parameters())),
        "frozen": all(torch.equal(a, b) for a, b in zip(before, (first.weight, first.running_mean), strict=True)),
    }


def ruined(action: str) -> dict:
    """The second process has a case with an infinite value."""
    torch.manual_seed(0)
    items = [{"image": torch.ones(2), "label": torch.zeros(1), "case": f"{dist.get_rank()}-{k}"} for k in range(4)]
    if dist.get_rank() == 1:
        items[2]["image"] = torch.full((2,), torch.inf)
    network = nn.Linear(2, 1)
    called = engines.wrap(network, engines.local_device())
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=DataLoader(Dataset(items), batch_size=1),
        network=called,
        optimizer=torch.optim.AdamW(network.parameters(), lr=0.1),
        loss_function=nn.L1Loss(),
        decollate=False,
        train_handlers=[FiniteSteps(called, None, action)],
    )
    told = ""
    try:
        trainer.run()
    except DataError as error:
        told = str(error)
    return {"told": told, "steps": trainer.state.iteration, "weights": network.weight.flatten().tolist()}


def work(folder: str) -> None:
    torch.set_num_threads(1)
    engines.start_processes()
    engines.start_processes()  # the group that is there is taken
    process = dist.get_rank()
    order = folder + "/order"
    engines.others_wait()
    if process == 0:
        Path(order).write_text("first")
    found = Path(order).read_text()
    engines.others_go_on()
    sampler = EpochSampler(range(8), seed=5)
    sampler.set_epoch(2)
    results = {
        "waited": found,
        "not_rank0": engines.is_not_rank0(),
        "order": [index for _, index in sampler],
        "endless": [list(map(int, pair)) for pair in EpochSampler(range(5), seed=5, length=6)],
        "gathered": gather_in_turn(["a", "c", "e"] if process == 0 else ["b", "d"]),
        "scores": [evaluate(count, True, batch) for count, batch in ((7, 1), (7, 2), (1, 1))],
        "trained": train(folder),
        "backbone": train_backbone(),
        "ruined": {action: ruined(action) for action in ("stop", "skip")},
    }
    predict(5, folder)
    report(9, folder)
    try:
        engines.gradient_step("pcgrad")
    except ConfigError as error:
        results["refused"] = str(error)
    engines.end_processes()
    results["ended"] = not dist.is_initialized()
    Path(folder, f"{process}.json").write_text(json.dumps(results))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What two processes left, which this file did as a script under torchrun."""
    place = tmp_path_factory.mktemp("processes")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nnodes=1", "--nproc_per_node=2"]
    done = subprocess.run(
        [*torchrun, __file__, str(place)], env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return place


@pytest.fixture(scope="module")
def two(folder) -> list[dict]:
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


def test_the_first_process_goes_ahead_and_alone_writes(two, folder):
    assert [process["waited"] for process in two] == ["first", "first"]
    assert [process["not_rank0"] for process in two] == [False, True]
    assert sorted(p.name for p in (folder / "0").glob("[!.]*")) == [
        "last.pt",
        "last_previous.pt",
        "model.json",
        "model.pt",
    ]
    assert not (folder / "1").exists()
    assert all(process["ended"] for process in two)


def test_batches_of_two_processes_are_those_of_one_with_twice_the_size(two):
    """Batch k of each process, put together, holds the cases of batch k of one process; in any order within it."""
    sampler = EpochSampler(range(8), seed=5)
    sampler.set_epoch(2)
    one = [index for _, index in sampler]
    for size in (1, 2, 4):
        for k in range(0, 8 // 2, size):
            together = [index for process in two for index in process["order"][k : k + size]]
            assert sorted(together) == sorted(one[2 * k : 2 * (k + size)])
    endless = [list(map(int, pair)) for pair in EpochSampler(range(5), seed=5, length=6)]
    assert in_turn([process["endless"] for process in two]) == endless


def test_an_uneven_epoch_repeats_its_first_cases():
    halves = [EpochSampler(range(5), seed=1) for _ in range(2)]
    for process, sampler in enumerate(halves):
        sampler.num_replicas, sampler.rank, sampler.num_samples, sampler.total_size = 2, process, 3, 6
    order = in_turn([[index for _, index in sampler] for sampler in halves])
    assert sorted(order[:5]) == list(range(5)) and order[5] == order[0]


def test_scores_of_two_processes_are_those_of_one_to_the_last_bit(two):
    wanted = [evaluate(count, False) for count in (7, 7, 1)]
    for process in two:
        assert process["gathered"] == ["a", "b", "c", "d", "e"]
        for got, score in zip(process["scores"], wanted, strict=True):
            assert got["dice"] == score["dice"]
            assert got["auc"] == pytest.approx(score["auc"], abs=0, nan_ok=True)
    assert 0.3 < wanted[0]["dice"] < 0.7 and wanted[0]["dice"] != wanted[2]["dice"]


def test_rows_of_two_processes_stand_in_the_order_of_the_list(two, folder, tmp_path):
    predict(5, str(tmp_path))
    assert (folder / "table.csv").read_bytes() == (tmp_path / "table.csv").read_bytes()
    assert list(pd.read_csv(folder / "table.csv")["case"]) == [f"case {k}" for k in range(5)]


def test_the_report_of_two_processes_is_that_of_one(two, folder, tmp_path):
    report(9, str(tmp_path))
    files = sorted(p.name for p in (tmp_path / "report").iterdir())
    assert files == ["cases.csv", "metrics.csv", "predictions.csv", "report.html", "summary.json"]
    for file in files:
        one, both = ((place / "report" / file).read_text() for place in (tmp_path, folder))
        assert WRITTEN.sub("", one) == WRITTEN.sub("", both), file
    assert len(pd.read_csv(folder / "report" / "predictions.csv")) == 9


def test_processes_end_with_one_network_and_one_average_but_draw_on_their_own(two, folder):
    first, second = (process["trained"] for process in two)
    assert first["network"] == second["network"]
    assert first["average"] == second["average"], "running statistics of batch norm too"
    assert first["draw"] != second["draw"]
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    # In one process and without DistributedDataParallel: names and shapes must be those of the bare network.
    network.load_state_dict(torch.load(folder / "0" / "last.pt", weights_only=True)["objects"]["network"])
    assert torch.cat([p.flatten() for p in network.parameters()]).tolist() == first["network"]
    average = torch.load(folder / "0" / "model.pt", weights_only=True)
    assert torch.cat([v.flatten().float() for v in average.values()]).tolist() == first["average"]


def test_a_backbone_trains_in_two_processes(two):
    first, second = (process["backbone"] for process in two)
    assert first == second and first["frozen"] and math.isfinite(first["same"])


def test_all_processes_stop_or_leave_the_step_out_and_name_the_case(two):
    stopped, skipped = ([process["ruined"][action] for process in two] for action in ("stop", "skip"))
    assert stopped[0] == stopped[1] and stopped[0]["steps"] == 3
    assert "step 3: the loss is not finite for case 1-2." in stopped[0]["told"]
    assert skipped[0] == skipped[1] and skipped[0]["steps"] == 4 and not skipped[0]["told"]
    assert all(math.isfinite(weight) for weight in skipped[0]["weights"])
    assert skipped[0]["weights"] != stopped[0]["weights"], "the step after it counts"


def test_gradient_methods_are_refused_in_several_processes(two):
    pytest.importorskip("torchjd")
    assert all("'pcgrad' combines gradients" in process["refused"] for process in two)


def test_without_torchrun_the_command_is_shown(monkeypatch):
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=r"RANK.* is not set\): torchrun --standalone .*multi_gpu_train.json"):
        engines.start_processes()
    assert not dist.is_initialized()


def test_on_gpus_batch_norm_is_of_all_processes_and_each_process_has_its_own(monkeypatch):
    """No GPU is needed to see what would be asked of one."""
    made = {}
    monkeypatch.setattr(
        engines.distributed, "DistributedDataParallel", lambda network, **kwargs: made.update(kwargs) or network
    )
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.BatchNorm2d(2)))
    parameters, names = list(network.parameters()), list(network.state_dict())
    engines.wrap(network, torch.device("cuda", 1))
    assert isinstance(network[1][0], nn.SyncBatchNorm) and made == {"device_ids": [torch.device("cuda", 1)]}
    assert all(a is b for a, b in zip(network.parameters(), parameters, strict=True)), "the optimiser has them already"
    assert list(network.state_dict()) == names
    gpus = SimpleNamespace(is_available=lambda: True, device_count=lambda: 2)
    monkeypatch.setattr(engines.distributed.torch, "cuda", gpus)
    for name in ENVIRONMENT:
        monkeypatch.setenv(name, "1")
    assert engines.local_device() == torch.device("cuda", 1)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ConfigError, match="process 2 of this machine has no GPU, there are 2"):
        engines.local_device()


@pytest.mark.parametrize("architecture", ["ctan", "mtan", "hps", "stl"])
def test_every_parameter_has_a_gradient_in_every_step(architecture):
    """Otherwise DistributedDataParallel waits for it for ever: also where a task has no label in the batch."""
    from ctan_networks.losses import DiceBCELoss, MaskedCrossEntropyLoss, MultiTaskLoss

    network = make_network(architecture, TASKS, spatial_dims=2, in_channels=1, channels=[4, 8, 8], norm="INSTANCE")
    tasks = list(network.tasks)
    loss = MultiTaskLoss({"segmentation": DiceBCELoss(), "diagnosis": MaskedCrossEntropyLoss()}, tasks=tasks)
    label = {"segmentation": torch.full((2, 2, 32, 32), torch.nan), "diagnosis": torch.tensor([-1, -1])}
    loss(network(torch.randn(2, 1, 32, 32)), label).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


if __name__ == "__main__":
    work(sys.argv[1])
