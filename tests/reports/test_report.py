# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
from ignite.engine import Engine, Events

from ctan_networks.errors import DataError
from ctan_networks.reports import report as module
from ctan_networks.reports.report import Report


class Names(Report):
    """Lists the cases; how often it was written is counted."""

    template = "classification.html"
    writings = 0

    def score_case(self, item: Any) -> None:
        self.register(item["case"])
        self.scratch(item["case"]).touch()

    def write_numbers(self) -> None:
        self.writings += 1
        self.output_dir.mkdir(exist_ok=True)
        (self.output_dir / "names.txt").write_text(" ".join(sorted(self.names)))

    def summarise(self) -> dict[str, Any]:
        score = {"title": "Count", "unit": "cases", "value": len(self.names), "low": 1.0, "high": float("nan")}
        undefined = {"name": "count", "n": 1, "groups": 1, "undefined": 0.25, "higher_is_better": True}
        counts = {"cases": 1, "groups": 1, "cases_without_group": 0, "unit": "patient", "tasks": ["a"]}
        return {**counts, "scores": [score | undefined], "not_defined": [], "classification": {}}

    def illustrate(self) -> dict[str, Any]:
        return {"figures": {}, "pictures": [], "saliency": False}


def engine_of(report: Report, step=lambda engine, case: None) -> Engine:
    def iteration(engine, case):
        step(engine, case)
        engine.state.batch = [{"case": case}]
        return [{}]

    engine = Engine(iteration)
    report.attach(engine)
    return engine


@pytest.mark.parametrize(("seconds", "writings"), [(0.0, 6), (1000.0, 2)])
def test_numbers_of_quick_cases_are_not_written_each_time(tmp_path, monkeypatch, seconds, writings):
    monkeypatch.setattr(module, "WRITE_EVERY", seconds)
    report = Names(tmp_path / "out", "title")
    engine_of(report).run("abcdef")
    assert report.writings == writings and (tmp_path / "out" / "names.txt").read_text() == "a b c d e f"
    page = (tmp_path / "out" / "report.html").read_text()
    assert "title" in page and "6.000 cases" in page and "not defined in 25.0 %" in " ".join(page.split())


def test_a_run_that_ends_early_leaves_its_numbers(tmp_path):
    def fail(engine, case):
        if case == "d":
            raise RuntimeError("loader")

    report = Names(tmp_path, "title")
    with pytest.raises(RuntimeError, match="loader"):
        engine_of(report, fail).run("abcdef")
    assert (tmp_path / "names.txt").read_text() == "a b c" and report.folder is None
    engine = engine_of(Names(tmp_path, "title"))
    engine.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda engine: engine.terminate())
    engine.run("abcdef")
    assert (tmp_path / "names.txt").read_text() == "a b" and (tmp_path / "report.html").is_file()


def test_an_engine_may_run_again(tmp_path):
    report = Names(tmp_path, "title")
    engine = engine_of(report)
    for _ in range(2):
        engine.run("abc")
    assert (tmp_path / "names.txt").read_text() == "a b c" and report.folder is None


def test_errors_say_what_is_wrong(tmp_path):
    with pytest.raises(DataError, match="a: evaluated twice"):
        engine_of(Names(tmp_path, "title")).run("aba")
    with pytest.raises(DataError, match="Names: no case was evaluated"):
        Names(tmp_path, "title").finish(Engine(lambda *_: None))
