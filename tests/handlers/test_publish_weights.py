# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import torch
from ignite.engine import Engine

from ctan_networks.handlers import PublishWeights


def train(tmp_path, enabled: bool = True, value: float | None = 2.0) -> None:
    engine = Engine(lambda engine, batch: None)
    run = tmp_path / "runs"
    run.mkdir(exist_ok=True)
    if value is not None:
        torch.save({"w": torch.tensor(value)}, run / "model.pt")
        (run / "model.json").write_text(json.dumps({"phantom": False, "value": value}))
    PublishWeights(run / "model.pt", tmp_path / "models" / "model.pt", run / "earlier", enabled).attach(engine)
    engine.run([0])


def weights(path) -> float:
    return torch.load(path, weights_only=True)["w"].item()


def test_the_new_weights_are_served_and_the_earlier_ones_kept_elsewhere(tmp_path):
    served = tmp_path / "models" / "model.pt"
    served.parent.mkdir()
    torch.save({"w": torch.tensor(1.0)}, served)
    train(tmp_path, value=2.0)
    train(tmp_path, value=3.0)
    assert weights(served) == 3.0 and json.loads(served.with_suffix(".json").read_text())["value"] == 3.0
    assert sorted(p.name for p in served.parent.iterdir()) == ["model.json", "model.pt"]
    earlier = sorted((tmp_path / "runs" / "earlier").glob("*.pt"))
    assert [weights(p) for p in earlier] == [1.0, 2.0]
    assert not earlier[0].with_suffix(".json").exists() and earlier[1].with_suffix(".json").exists()


def test_without_new_weights_or_when_not_asked_nothing_changes(tmp_path, caplog):
    train(tmp_path, enabled=False)
    assert not (tmp_path / "models").exists()
    (tmp_path / "runs" / "model.pt").unlink()
    train(tmp_path, value=None)
    assert not (tmp_path / "models").exists() and "no weights were written" in caplog.text
