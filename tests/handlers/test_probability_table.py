# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import time

import pandas as pd
import pytest
import torch
from ignite.engine import Engine, Events

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.handlers import ProbabilityTable
from ctan_networks.handlers import probability_table as module

TASKS = {"covid": ["negative", "positive"], "severity": ["mild", "severe"]}


def predictions(count: int, seed: int = 0) -> list[list[dict]]:
    """Batches of two cases as MONAI's evaluator leaves them, with the name in the batch and not in the output."""
    p = torch.randn(count, 2, 2, generator=torch.Generator().manual_seed(seed)).softmax(-1)
    cases = [{"case": f"c{k}", "predicted_covid": p[k, 0], "predicted_severity": p[k, 1]} for k in range(count)]
    return [cases[k : k + 2] for k in range(0, count, 2)]


def run(handler, batches, fail_at=None):
    def step(engine, batch):
        if engine.state.iteration - 1 == fail_at:
            raise RuntimeError("no memory")
        engine.state.batch = [{"case": item["case"], "image": 0} for item in batch if "case" in item]
        return [{key: value for key, value in item.items() if key != "case"} for item in batch]

    engine = Engine(step)
    handler.attach(engine)
    engine.run(batches, max_epochs=1)
    return engine


def test_rows(tmp_path):
    path = tmp_path / "out" / "p.csv"
    batches = predictions(7)
    run(ProbabilityTable(path, TASKS), batches)
    table = pd.read_csv(path)
    assert list(table) == [
        "case",
        "p_covid_negative",
        "p_covid_positive",
        "covid",
        "p_severity_mild",
        "p_severity_severe",
        "severity",
    ]
    cases = [item for batch in batches for item in batch]
    assert list(table["case"]) == [item["case"] for item in cases]
    for row, item in zip(table.to_dict("records"), cases, strict=True):
        for task, classes in TASKS.items():
            expected = item[f"predicted_{task}"]
            got = torch.tensor([row[f"p_{task}_{name}"] for name in classes])
            torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)
            assert row[task] == classes[int(expected.argmax())]


def test_submission_form(tmp_path):
    path = tmp_path / "p.csv"
    classes = ["mel", "nv", "bcc"]
    item = {"case": "ISIC_0000001", "predicted_diagnosis": torch.tensor([0.5, 0.25, 0.25])}
    run(ProbabilityTable(path, {"diagnosis": classes}, submission=True), [[item]])
    assert list(csv.reader(path.open())) == [["image", "MEL", "NV", "BCC"], ["ISIC_0000001", "0.5", "0.25", "0.25"]]


def test_a_task_that_was_not_predicted_is_empty(tmp_path):
    run(ProbabilityTable(tmp_path / "p.csv", TASKS), [[{"case": "a", "predicted_covid": torch.tensor([1.0, 0.0])}]])
    table = pd.read_csv(tmp_path / "p.csv")
    assert table["covid"][0] == "negative" and table.filter(like="severity").isna().all(axis=None)


def test_an_error_keeps_the_rows_so_far_and_is_not_swallowed(tmp_path):
    handler = ProbabilityTable(tmp_path / "p.csv", TASKS, every=1e9)
    with pytest.raises(RuntimeError, match="no memory"):
        run(handler, predictions(8), fail_at=3)
    assert list(pd.read_csv(tmp_path / "p.csv")["case"]) == [f"c{k}" for k in range(6)]


def test_a_running_inference_leaves_a_whole_file(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WRITING_SHARE", float("inf"))
    path, seen = tmp_path / "p.csv", []
    engine = Engine(lambda engine, batch: batch)
    ProbabilityTable(path, TASKS, every=0).attach(engine)
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: seen.append(len(pd.read_csv(path))))
    engine.run(predictions(6), max_epochs=1)
    assert seen == [2, 4, 6]
    assert [p.name for p in tmp_path.iterdir()] == ["p.csv"]


def test_writing_costs_little_for_ten_thousand_cases(tmp_path, monkeypatch):
    writings = []
    original = ProbabilityTable.write
    monkeypatch.setattr(ProbabilityTable, "write", lambda self: (writings.append(1), original(self)))
    started = time.monotonic()
    run(ProbabilityTable(tmp_path / "p.csv", TASKS, every=0), predictions(10_000))
    # Some 0.1 s a writing: 5,000 of them would take minutes.
    assert len(pd.read_csv(tmp_path / "p.csv")) == 10_000
    assert len(writings) < 200 and time.monotonic() - started < 15


def test_a_new_run_replaces_the_file_at_its_first_row(tmp_path):
    path = tmp_path / "p.csv"
    handler = ProbabilityTable(path, TASKS)
    run(handler, predictions(4))
    before = path.read_bytes()
    with pytest.raises(RuntimeError):
        run(handler, predictions(4, seed=1), fail_at=0)
    assert path.read_bytes() == before
    run(handler, predictions(2, seed=1))
    assert list(pd.read_csv(path)["case"]) == ["c0", "c1"]


def test_nothing_predicted(tmp_path, caplog):
    handler = ProbabilityTable(tmp_path / "p.csv", TASKS)
    handler.finish(Engine(lambda e, b: None))
    assert "no case was predicted" in caplog.text and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (
            [{"case": "a", "predicted_covid": torch.tensor([0.1, 0.2, 0.7])}],
            "a: predicted_covid has 3 values.*2 classes",
        ),
        ([{"case": "a", "predicted_covid": torch.tensor([float("nan"), 0.2])}], "a: predicted_covid is no probability"),
        ([{"case": "a", "predicted_covid": torch.tensor([3.0, -2.0])}], "a: predicted_covid is no probability"),
        ([{"case": "a"}, {"case": "a"}], "a: predicted twice"),
        ([{"predicted_covid": torch.tensor([0.1, 0.9])}], "no case"),
    ],
)
def test_wrong_predictions(tmp_path, items, message):
    with pytest.raises(DataError, match=message):
        run(ProbabilityTable(tmp_path / "p.csv", TASKS), [items])


@pytest.mark.parametrize(
    ("tasks", "submission", "message"),
    [
        ({}, False, "must name tasks"),
        ({"a": []}, False, "must name tasks"),
        ({"a": ["x", "x"]}, False, "twice: p_a_x"),
        ({"a": ["x", "X"]}, True, "twice: X"),
        ({"case": ["x", "y"]}, False, "twice: case"),
        (TASKS, True, "of one task"),
    ],
)
def test_wrong_settings(tmp_path, tasks, submission, message):
    with pytest.raises(ConfigError, match=message):
        ProbabilityTable(tmp_path / "p.csv", tasks, submission=submission)
