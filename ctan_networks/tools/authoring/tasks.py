# SPDX-License-Identifier: Apache-2.0
"""From ``seg:segmentation:liver|tumour,grade:classification:4`` to a list of tasks."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass

from ctan_networks.blocks.tasks import KINDS, check_tasks
from ctan_networks.errors import ConfigError

__all__ = ["Task", "parse_tasks"]

EXAMPLE = '--tasks "seg:segmentation:liver|tumour,dose:regression:1,grade:classification:4"'
COUNTED = {"segmentation": "structures", "regression": "channels", "classification": "classes"}
# Keys that a case, a batch, an output or a table has beside the tasks.
TAKEN = frozenset(
    (
        *("body", "case", "files", "fold", "foreground", "group", "image", "item", "label", "loss", "mask", "network"),
        *("original", "part", "path", "pred", "result", "score", "split", "task", "tasks", "weight"),
    )
)
# What outputs and references are called, and what MONAI Label puts beside an image.
TAKEN_BEGINNINGS = ("predicted_", "reference_", "painted_", "image_", "label_", "pred_", "result_", "_")
NAME = re.compile(r"\w[\w.+-]*(?: [\w.+-]+)*")


@dataclass(frozen=True)
class Task:
    """One task of a bundle.

    Attributes:
        name: key of the task everywhere.
        kind: "segmentation", "regression" or "classification".
        channels: output channels.
        names: of the structures or classes, one a channel; empty for a regression.
    """

    name: str
    kind: str
    channels: int
    names: tuple[str, ...]

    @property
    def dense(self) -> bool:
        """Whether its label is a map and not one number."""
        return self.kind != "classification"


def parse_tasks(text: str) -> tuple[Task, ...]:
    """Read the list of tasks of a command line.

    Args:
        text: tasks separated by commas, each ``NAME:KIND:N``. N is the number of structures, channels or classes; for a
            segmentation or a classification it may be their names, separated by ``|``.

    Returns:
        the tasks in their order.

    Raises:
        ConfigError: when the text cannot be read, a name is taken or stands twice, a kind is not known, or a number is
            too small.

    """
    parts = [part.strip() for part in str(text).split(",") if part.strip()]
    if not parts:
        raise ConfigError(f"no task is given: {EXAMPLE}.")
    tasks = [_parse(part) for part in parts]
    names = [task.name for task in tasks]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two tasks are called {name!r}: rename one.")
        # MONAI's Spacingd takes the entries "<key>_..." of a case for metadata of "<key>".
        longer = [other for other in names if other.startswith(f"{name}_")]
        if longer:
            raise ConfigError(
                f"the task {longer[0]!r} begins with the name of another, {name!r}, and '_': MONAI would take it for"
                f" metadata of {name!r}. Rename one."
            )
    check_tasks({task.name: {"kind": task.kind, "out_channels": task.channels} for task in tasks})
    return tuple(tasks)


def _parse(part: str) -> Task:
    fields = [field.strip() for field in part.split(":")]
    if len(fields) != 3 or not all(fields):
        raise ConfigError(f"the task {part!r} is not NAME:KIND:N, as in {EXAMPLE}.")
    name, kind, count = fields
    if not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
        raise ConfigError(f"the task name {name!r} must be one word of letters, digits and '_', as in a program.")
    if name in TAKEN or name.startswith(TAKEN_BEGINNINGS):
        raise ConfigError(f"the task name {name!r} is used for something else: choose another, such as 'my_{name}'.")
    if kind not in KINDS:
        raise ConfigError(f"task {name!r} has the kind {kind!r}: choose one of {', '.join(KINDS)}.")
    if re.fullmatch(r"[+-]?\d+", count):
        channels = int(count)
        least = 2 if kind == "classification" else 1
        if channels < least:
            raise ConfigError(f"task {name!r} has {channels} {COUNTED[kind]}: at least {least} are needed.")
        return Task(name, kind, channels, _default_names(kind, channels))
    if kind == "regression":
        raise ConfigError(f"task {name!r}: give the number of channels of the map, such as {name}:regression:1.")
    return Task(name, kind, len(count.split("|")), _given_names(name, kind, count))


def _default_names(kind: str, channels: int) -> tuple[str, ...]:
    if kind == "segmentation":
        return tuple(f"structure_{k + 1}" for k in range(channels))
    # Not bare numbers, which a table's reader would take for values.
    return tuple(f"class_{k}" for k in range(channels)) if kind == "classification" else ()


def _given_names(task: str, kind: str, text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split("|"))
    for name in names:
        if not NAME.fullmatch(name):
            raise ConfigError(
                f"task {task!r}: {name!r} cannot name one of its {COUNTED[kind]}: use letters and digits."
            )
        if names.count(name) > 1:
            raise ConfigError(f"task {task!r}: {name!r} stands twice among its {COUNTED[kind]}.")
    if kind == "classification" and len(names) < 2:
        raise ConfigError(f"task {task!r} has the one class {names[0]!r}: at least 2 are needed, as in 'low|high'.")
    return names
