# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

from ctan_networks.blocks.stacking import stacked_channels
from ctan_networks.errors import ConfigError
from ctan_networks.tools.authoring.json_text import json_text
from ctan_networks.tools.authoring.metadata import channel_names
from ctan_networks.tools.authoring.plan import Plan
from ctan_networks.tools.authoring.tasks import Task, parse_tasks


def test_tasks_with_numbers_and_with_names():
    text = " seg:segmentation:2, liver_map : regression:3,grade:classification:low grade|high-grade"
    assert parse_tasks(f"{text},organ:segmentation:liver") == (
        Task("seg", "segmentation", 2, ("structure_1", "structure_2")),
        Task("liver_map", "regression", 3, ()),
        Task("grade", "classification", 2, ("low grade", "high-grade")),
        Task("organ", "segmentation", 1, ("liver",)),
    )
    assert parse_tasks("grade:classification:1|2|3")[0].names == ("1", "2", "3")
    assert parse_tasks("g:classification:2")[0].names == ("class_0", "class_1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no task"),
        ("seg", "NAME:KIND:N"),
        ("seg:segmentation", "NAME:KIND:N"),
        ("seg:detection:2", "'detection'.*segmentation, regression, classification"),
        ("seg:segmentation:0", "0 structures: at least 1"),
        ("dose:regression:-1", "at least 1"),
        ("dose:regression:gray", "dose:regression:1"),
        ("g:classification:1", "at least 2"),
        ("g:classification:low", "one class 'low'"),
        ("g:classification:a|a", "'a' stands twice"),
        ("g:classification:a|", "'' cannot name"),
        ("g:classification:a|$b", "cannot name"),
        ("a:segmentation:1,a:regression:1", "two tasks are called 'a'"),
        ("dose:regression:1,dose_mask:segmentation:1", "'dose_mask' begins with the name of another"),
        ("my-task:segmentation:1", "one word"),
        ("1st:segmentation:1", "one word"),
        ("class:segmentation:1", "one word"),
        ("image:segmentation:1", "used for something else"),
        ("split:classification:2", "used for something else"),
        ("image_quality:classification:2", "used for something else"),
        ("predicted_x:classification:2", "used for something else"),
        ("items:segmentation:1", "plain word"),
    ],
)
def test_what_cannot_be_a_task_is_said(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_tasks(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "my task"}, "cannot name a bundle"),
        ({"spatial_dims": 4}, "spatial_dims"),
        ({"architecture": "unet"}, "ctan, mtan, hps, stl"),
        ({"in_channels": 0}, "at least 1"),
        ({"spatial_dims": 2, "in_channels": 4}, "RGB"),
    ],
)
def test_a_plan_that_cannot_be_carried_out(changes, message):
    given = {"name": "a", "title": "A", "spatial_dims": 3, "in_channels": 1, "tasks": parse_tasks("s:segmentation:1")}
    with pytest.raises(ConfigError, match=message):
        Plan(**(given | changes))


def test_cases_are_not_mirrored_where_names_tell_sides_apart():
    def flips(text: str) -> bool:
        return Plan("a", "A", 3, 1, parse_tasks(text)).flips

    assert flips("s:segmentation:liver|cleft")
    assert not flips("s:segmentation:Left_Kidney|spleen")
    assert not flips("s:segmentation:parotid L|spleen") and not flips("side:classification:left|right")


def test_channels_are_named_in_the_order_of_the_stack():
    tasks = parse_tasks("g:classification:a|b,d:regression:2,s:segmentation:x|y,e:regression:1")
    plan = Plan("a", "A", 3, 1, tasks)
    names = list(channel_names(plan).values())
    where = stacked_channels(plan.task_list)
    assert {task: names[part] for task, part in where.items()} == {
        "g": ["g a", "g b"],
        "d": ["d 0", "d 1"],
        "s": ["x", "y"],
        "e": ["e"],
    }
    assert names[0] == "background" and len(names) == 8


def test_json_is_read_back_and_short_things_stand_on_one_line():
    value = {"a": [1, 2.5, None, True], "b": {"c": [{"d": "é"}], "e": {}, "f": []}, "long": ["x" * 30] * 5}
    text = json_text(value)
    assert json.loads(text) == value and text.endswith("}\n") and "é" in text
    lines = text.splitlines()
    assert '    "a": [1, 2.5, null, true],' in lines
    assert (
        max(map(len, lines)) <= 110 and text.count('"' + "x" * 30 + '"') == 5 and '        "' + "x" * 30 + '",' in lines
    )
