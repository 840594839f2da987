# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from ignite.engine import Engine, Events

from ctan_networks import handlers
from ctan_networks.errors import ConfigError, DataError
from ctan_networks.reports import report as module
from ctan_networks.reports.report import Report
from ctan_networks.reports.scores import Results, Row, Score
from ctan_networks.reports.section import Case, Section
from ctan_networks.tools.packing.imports import read_imports

ROOT = Path(__file__).resolve().parents[2]


class Length(Section):
    """A kind of task that the package does not know: a number a case."""

    kind = "length"

    def score(self, case: Case) -> bool:
        case.rows.append(Row(case.name, self.task, "", "length", float(case.item["predicted_size"])))
        return case.item.get("reference_size", 0) is not None

    def scores(self, results: Results) -> list[Score]:
        every = results.of(self.task)["case"].tolist()
        half = results.score("half", "Half", lambda w: (w.argmax(1) % 2) * float("nan") + w.sum(1), every)
        return [results.mean("size", "Size", results.of(self.task), "mm"), half]


def engine_of(report: Report, step=lambda engine, case: None) -> Engine:
    def iteration(engine, case):
        step(engine, case)
        engine.state.batch = [{"case": case}]
        return [{"predicted_size": ord(case) - 96, "image": torch.zeros(1, 4, 4)}]

    engine = Engine(iteration)
    report.attach(engine)
    return engine


def cases_in(folder) -> str:
    return "".join(pd.read_csv(folder / "metrics.csv")["case"])


@pytest.mark.parametrize(("seconds", "writings"), [(0.0, 6), (1000.0, 2)])
def test_numbers_of_quick_cases_are_not_written_each_time(tmp_path, monkeypatch, seconds, writings):
    monkeypatch.setattr(module, "WRITE_EVERY", seconds)
    written = []
    monkeypatch.setattr(module, "wide_table", lambda cases: written.append(len(cases)) or wide(cases))
    wide = pytest.importorskip("ctan_networks.reports.scores").wide_table
    report = Report(tmp_path / "out", [Length("size")], title="title <x>")
    engine_of(report).run("abcdef")
    # Once more for the page.
    assert written[:-1] == ([1, 2, 3, 4, 5, 6] if writings == 6 else [1, 6]) and cases_in(tmp_path / "out") == "abcdef"
    page = (tmp_path / "out" / "report.html").read_text()
    assert "title &lt;x&gt;" in page and "3.500 mm" in page and page.count("<tr><th>") >= 6
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["labelled"] == {"size": 6} and [s["name"] for s in summary["scores"]] == ["size"]
    assert summary["not_defined"] == ["Half"] and "Not defined, for want of references: Half" in page
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "cases.csv",
        "metrics.csv",
        "report.html",
        "summary.json",
    ]


def test_a_run_that_ends_early_leaves_its_numbers(tmp_path):
    def fail(engine, case):
        if case == "d":
            raise RuntimeError("loader")

    report = Report(tmp_path, [Length("size")])
    with pytest.raises(RuntimeError, match="loader"):
        engine_of(report, fail).run("abcdef")
    assert cases_in(tmp_path) == "abc" and report.pictures.folder is None
    engine = engine_of(Report(tmp_path, [Length("size")]))
    engine.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda engine: engine.terminate())
    engine.run("abcdef")
    assert cases_in(tmp_path) == "ab" and (tmp_path / "report.html").is_file()


def test_an_engine_may_run_again(tmp_path):
    engine = engine_of(Report(tmp_path, [Length("size")]))
    for _ in range(2):
        engine.run("abc")
    assert cases_in(tmp_path) == "abc"


def test_sections_of_other_tasks_are_left_out(tmp_path):
    engine_of(Report(tmp_path, [Length("other"), Length("size")], tasks=["size"])).run("ab")
    assert set(pd.read_csv(tmp_path / "metrics.csv")["task"]) == {"size"}


def test_a_case_table_has_scores_alone_where_there_are_many_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHOWN_COLUMNS", 0)
    engine_of(Report(tmp_path / "a", [Length("size")])).run("ab")
    assert '<th class="number">Size (mm)</th>' in (tmp_path / "a" / "report.html").read_text()
    monkeypatch.setattr(module, "SHOWN_CASES", 1)
    engine_of(Report(tmp_path / "b", [Length("size")])).run("ab")
    assert "All cases" not in (tmp_path / "b" / "report.html").read_text()


def test_old_names_still_make_a_report(tmp_path):
    with pytest.warns(DeprecationWarning, match="EvaluationReport has moved"):
        made = handlers.EvaluationReport(tmp_path, ["dose"], ["PTV"], plan_metrics=True, image_key="ct")
    assert [section.task for section in made.sections] == ["dose"] and made.sections[0].questions.metrics
    with pytest.warns(DeprecationWarning, match="ClassificationReport has moved"):
        made = handlers.ClassificationReport(tmp_path, {"grade": ["a", "b"]}, segmentation="lesion")
    assert [section.task for section in made.sections] == ["lesion", "grade"]


def test_a_report_of_classifications_needs_no_radiotherapy():
    seen, new = set(), {"ctan_networks.reports.report", "ctan_networks.reports.sections.classification"}
    while new:
        name = new.pop()
        path = ROOT.joinpath(*name.split("."))
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if name not in seen and file.is_file():
            found = read_imports(file.read_text(encoding="utf-8"), name, path.is_dir())
            new |= {part for each in found for part in (each.module, f"{each.module}.{each.name}")}
        seen.add(name)
    assert "ctan_networks.reports.scores" in seen and "matplotlib.figure" in seen
    assert not [name for name in seen if "radiotherapy" in name or "pydicom" in name]


def test_errors_say_what_is_wrong(tmp_path):
    def report(tasks: Any = None) -> Report:
        return Report(tmp_path, [Length("size")], tasks)

    with pytest.raises(DataError, match="a: evaluated twice"):
        engine_of(report()).run("aba")
    with pytest.raises(DataError, match="Report: no case was evaluated"):
        report().finish(Engine(lambda *_: None))
    with pytest.raises(DataError, match="no key 'case'"):
        report().score_case({"predicted_size": 1})
    with pytest.raises(DataError, match="a: no reference for size"):
        report().score_case({"case": "a", "predicted_size": 1, "reference_size": None})
    for tasks in (["grade"], []):
        with pytest.raises(ConfigError, match="one section for each task"):
            report(tasks)
    with pytest.raises(ConfigError, match="one section for each task"):
        Report(tmp_path, [Length("size"), Length("size")])
