# SPDX-License-Identifier: Apache-2.0
"""Run a command with what was typed: text stays text, and what it does not take is refused before it starts."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import fire
from fire.decorators import SetParseFns

from ctan_networks.command_line import as_arrived, check_known, read_arguments
from ctan_networks.errors import ConfigError

__all__ = ["run_command"]

HELP = ("--help", "-h")


def run_command(commands: Mapping[str, Callable], arguments: Sequence[str], name: str) -> None:
    """Call one of some functions as Fire does, which by itself calls first and complains of the rest afterwards.

    Args:
        commands: name to function.
        arguments: what was typed behind the program's name.
        name: of the program.

    Raises:
        ConfigError: when the function has no such option, takes fewer arguments, or an option wants a number.

    """
    arguments = [text for text in arguments if text != "--debug"]
    command = arguments[0].replace("-", "_") if arguments else ""
    own = arguments[1:]
    if any(text in HELP for text in arguments):
        arguments = [*([command] if command in commands else []), "--", "--help"]
    elif command in commands:
        _check(command, commands[command], own)
    for function in commands.values():
        SetParseFns(**_parsers(function))(function)
    fire.Fire(dict(commands), command=arguments, name=name)


def _check(command: str, function: Callable, arguments: Sequence[str]) -> None:
    if "--" in arguments:
        return
    parameters = inspect.signature(function).parameters
    plain, options = read_arguments(arguments)
    if all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
        switched_off = {f"no{name}" for name, p in parameters.items() if p.annotation == "bool"}
        # Fire takes a first letter, too.
        check_known([name for name in options if len(name) > 1 and name not in switched_off], list(parameters), command)
    if len(plain) > len(parameters):
        raise ConfigError(f"{command} takes at most {len(parameters)} arguments: what is {plain[-1]!r}?")


def _parsers(function: Callable) -> dict[str, Callable[[str], Any]]:
    """How the text of each parameter becomes a value, by its annotation."""
    made: dict[str, Callable[[str], Any]] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        kinds = {kind.strip() for kind in str(parameter.annotation).split("|")}
        if kinds <= {"str", "None"}:
            made[name] = os.fspath
        elif name == "dataset_dir":
            made[name] = _folders
        elif kinds <= {"int", "float", "None"}:
            made[name] = _number(name, float if "float" in kinds else int)
    return made


def _folders(text: str) -> Any:
    """A list where one was typed, and otherwise what was typed."""
    value = as_arrived(text) if text[:1] in ("[", "(") else text
    return value if isinstance(value, list | tuple) else text


def _number(name: str, kind: type) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            return None if text == "None" else kind(text)
        except ValueError:
            what = "a number" if kind is float else "a whole number"
            raise ConfigError(f"--{name} must be {what}, not {text!r}.") from None

    return parse
