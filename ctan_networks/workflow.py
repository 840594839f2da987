# SPDX-License-Identifier: Apache-2.0
"""What a bundle's configuration asks of the place it runs in: its own folder, the recipe, the weights to take."""

from __future__ import annotations

import ast
import ctypes
import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ctan_networks import command_line, last_words
from ctan_networks.errors import ConfigError, refuse_unknown
from ctan_networks.utils import atomic_path

__all__ = [
    "bundle_root",
    "check_options",
    "choose_recipe",
    "data_given",
    "explain_errors",
    "for_tasks",
    "pick_weights",
    "require_output",
    "trained_on",
    "trained_with",
    "warn_of_phantom_weights",
    "warn_of_phantoms",
]

logger = logging.getLogger(__name__)

# What monai.bundle takes itself, and --debug of last_words.
OPTIONS_OF_MONAI = (
    *("args_file", "config_file", "debug", "final_id", "init_id", "logging_file", "meta_file", "properties_path"),
    *("run_id", "save_execute_config", "tracking", "workflow_name", "workflow_type"),
)


def bundle_root() -> str:
    """The folder that holds ``configs/`` of the bundle that is being read, from whatever working directory.

    Inside ``monai.bundle run``, ``load`` or a ``ConfigWorkflow`` the workflow object further up the call stack knows
    its configuration folder. The other commands (``verify_net_in_out``, ``ckpt_export``) read a configuration without
    a workflow: then ``--config_file`` of the command line tells. Else it is the working directory.
    """
    workflow = _running_workflow()
    if workflow is not None and workflow.get("config_root_path") is not None:
        return str(Path(workflow["config_root_path"]).resolve().parent)
    for position, argument in enumerate(sys.argv):
        if argument.startswith("--config_file"):
            value = argument.partition("=")[2] or "".join(sys.argv[position + 1 : position + 2])
            return str(Path(_first(value)).resolve().parent.parent)
    return "."


def data_given() -> list[Any]:
    """The list that stands in place of the configuration's training data, as MONAI Label puts one there; else empty.

    The data set's own folder is not asked for then, and no phantom cohort is made.
    """
    workflow = _running_workflow()
    config: Any = getattr((workflow or {}).get("parser"), "config", None)
    for key in ("train", "dataset", "data"):
        config = config.get(key) if isinstance(config, Mapping) else None
    return config if isinstance(config, list) else []


def _running_workflow() -> dict[str, Any] | None:
    """Attributes of MONAI's ``ConfigWorkflow`` further up the call stack; None where there is none."""
    frame = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if any(kind.__name__ == "ConfigWorkflow" for kind in type(owner).__mro__):
            return vars(owner)
        frame = frame.f_back  # type: ignore[assignment]
    return None


def _first(value: str) -> str:
    """The first of a command-line list such as ``"['a.json','b.json']"``, or the value itself."""
    if not value.startswith(("[", "(")):
        return value
    try:
        return str(ast.literal_eval(value)[0])
    except (ValueError, SyntaxError, IndexError):
        return value


def choose_recipe(recipes: Mapping[str, Any], phantom: bool, gpu: bool, name: str | None = None) -> dict[str, Any]:
    """Choose the block of epochs, crops and the like that fits data and machine, and say which and why.

    Args:
        recipes: name to settings; "phantom", "cpu" and "gpu" are chosen by themselves.
        phantom: the data are phantoms.
        gpu: there is a GPU.
        name: take this one, whatever data and machine are.

    Raises:
        ConfigError: when there is no such recipe.

    """
    if name is not None:
        chosen, why = name, "as asked for"
    elif phantom:
        chosen, why = "phantom", "the data are phantoms"
    else:
        chosen, why = ("gpu", "patient data and a GPU") if gpu else ("cpu", "patient data and no GPU")
    if chosen not in recipes:
        raise ConfigError(f"no recipe {chosen!r}: there are {', '.join(recipes)}.")
    settings = dict(recipes[chosen])
    config = getattr((_running_workflow() or {}).get("parser"), "config", None)
    given = _given_settings(chosen, settings, config) if isinstance(config, Mapping) else {}
    shown = (f"{k} {given.get(k, v)}{' (given)' if k in given else ''}" for k, v in settings.items() if k[0] != "_")
    logger.info("recipe %r (%s): %s", chosen, why, ", ".join(shown))
    warn_of_phantoms(phantom)
    return settings


def _given_settings(recipe: str, settings: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings whose entry in the configuration no longer takes them from the recipe, as the user gave another value.

    Raises:
        ConfigError: when a setting has no entry.

    """
    entries = {name: str(value) for name, value in config.items()}
    own = [name for name in settings if name[0] != "_"]
    refuse_unknown(own, entries, f"recipe {recipe!r}")
    return {name: config[name] for name in own if not entries[name].startswith("$")}


def warn_of_phantoms(phantom: bool) -> None:
    """Say it in the log when the data are phantoms."""
    if phantom:
        logger.warning("PHANTOM DATA: whatever is trained, measured or predicted here says nothing about patients.")


def trained_on(checkpoint: str | os.PathLike, bundle_root: str | os.PathLike) -> str | None:
    """What weights were trained on.

    It stands in ``model.json`` beside the weights of a training, and in ``metadata.json`` ("weights": "phantom") for
    those that a bundle ships.

    Args:
        checkpoint: the weights.
        bundle_root: the bundle's folder.

    Returns:
        "phantom", "patients", or None where it is not written down.

    """
    phantom = trained_with(checkpoint, "phantom", None)
    if phantom is not None:
        return "phantom" if phantom else "patients"
    shipped = Path(bundle_root) / "models" / "model.pt"
    if Path(checkpoint).resolve() != shipped.resolve():
        return None
    try:
        metadata = json.loads((Path(bundle_root) / "configs" / "metadata.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    weights = metadata.get("weights")
    return str(weights) if weights else None


def warn_of_phantom_weights(checkpoint: str | os.PathLike, bundle_root: str | os.PathLike) -> bool:
    """Say it in the log when weights were trained on phantoms; see :py:func:`trained_on`.

    Returns:
        Whether they are.

    """
    phantom = trained_on(checkpoint, bundle_root) == "phantom"
    if phantom:
        logger.warning("PHANTOM WEIGHTS: %s was trained on phantoms and knows nothing about patients.", checkpoint)
    return phantom


def pick_weights(*candidates: str | os.PathLike) -> str:
    """The first of some weight files that is there; says which.

    Raises:
        ConfigError: when none is there.

    """
    for candidate in candidates:
        if Path(candidate).is_file():
            logger.info("weights: %s", candidate)
            return str(candidate)
    raise ConfigError(
        f"no weights: looked for {' and '.join(str(c) for c in candidates)}. Train first, or give --checkpoint FILE."
    )


def require_output(output_dir: str | os.PathLike) -> None:
    """See to it that results can be written, before the first case is predicted: make the folder, and a file in it.

    Raises:
        ConfigError: when that is not so; names the folder and what the system says.

    """
    try:
        with atomic_path(Path(output_dir) / "test") as temporary:
            temporary.write_bytes(b"test")
            raise _Written
    except _Written:
        return
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"results cannot be written to {os.fspath(output_dir)} ({getattr(error, 'strerror', None) or error}). Give"
            " another --output_dir, or see to its permissions and the space on its disk."
        ) from error


class _Written(Exception):  # noqa: N818
    """Ends the writing of a file that is not to stay."""


def keep_memory(limit: int | None = None) -> None:
    """Keep the memory of freed tensors for the next ones, instead of giving it back to the system (glibc only).

    By default glibc returns blocks of 32 MiB and more at once; each training step on the CPU then has the system clear
    the same gigabyte again. The peak grows by some per cent.

    Args:
        limit: bytes, below 2 GiB, that may lie free at the heap's end before they are given back; None: any number.

    """
    try:
        libc = ctypes.CDLL(None)
        # M_MMAP_MAX, M_TRIM_THRESHOLD and M_TOP_PAD of <malloc.h>.
        for parameter, value in ((-4, 0), (-1, -1 if limit is None else limit), (-2, 1 << 28)):
            libc.mallopt(parameter, value)
    except (OSError, AttributeError, TypeError):
        logger.debug("no mallopt in this C library")


def trained_with(checkpoint: str | os.PathLike, setting: str, default: Any) -> Any:
    """A setting that weights were trained with, so that they see at inference what they saw in training.

    It stands in ``model.json`` beside the weights, which :py:class:`ctan_networks.handlers.TrainingCheckpoint` writes.

    Args:
        checkpoint: the weights.
        setting: its name among the run's ``details``.
        default: what to take when there is no such file or no such entry, as with the weights in ``models/``.

    """
    try:
        return json.loads(Path(checkpoint).with_suffix(".json").read_text(encoding="utf-8")).get(setting, default)
    except (OSError, ValueError):
        return default


def for_tasks(settings: Mapping[str, Any], tasks: Iterable[str]) -> dict[str, Any]:
    """The settings, listed by task, of the tasks that a network has."""
    return {task: settings[task] for task in tasks if task in settings}


def explain_errors() -> None:
    """End a failed command with one plain line.

    MONAI wraps what goes wrong while a configuration is read in messages about the configuration's parts. Where an
    error of this package is the cause, a full disk, or a package that is not installed, its text is all that a user
    reads; with the environment variable ``CTAN_DEBUG=1``, or ``--debug``, the traceback comes before it. A run that is
    stopped, by Ctrl-C or by the signal that a cluster sends before it takes a machine away, ends with a word on how to
    go on.
    """
    last_words.install()


def check_options() -> None:
    """Refuse options of the command line that the bundle does not have, and values that do not arrive as typed.

    Raises:
        ConfigError: see :py:mod:`ctan_networks.command_line`.

    """
    from monai.bundle.utils import DEFAULT_EXP_MGMT_SETTINGS

    running = _running_workflow()
    config = getattr((running or {}).get("parser"), "config", None)
    if not isinstance(config, Mapping):
        return
    of_monai = Path(sys.argv[0]).parts[-3:] == ("monai", "bundle", "__main__.py")
    options = command_line.read_arguments(sys.argv[1:])[1] if of_monai else {}
    own = {name: value for name, value in options.items() if name not in OPTIONS_OF_MONAI}
    if options.get("config_file"):
        files = [str(options["config_file"])]
        if files[0].startswith(("[", "(")):
            files = list(ast.literal_eval(files[0]))
        entries = command_line.config_entries(files)
        referred = set(re.findall(r"@(\w+)", repr(config)))
        tracked: Any = DEFAULT_EXP_MGMT_SETTINGS["mlflow"]["configs"] if "tracking" in options else ()
        command_line.check_known(own, {*entries, *referred, *tracked}, "the bundle")
        command_line.check_kinds(own, entries)
    command_line.check_paths(own, config)
