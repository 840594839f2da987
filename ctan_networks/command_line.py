# SPDX-License-Identifier: Apache-2.0
"""What a user typed, against what arrives: the command lines of MONAI and of this package take values for Python."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ctan_networks.errors import ConfigError, refuse_unknown

__all__ = ["as_arrived", "check_kinds", "check_known", "check_paths", "config_entries", "read_arguments"]

OPTION = re.compile(r"--?(?P<name>[A-Za-z_+][^=]*)(=(?P<value>.*))?", re.DOTALL)
# Entries of configurations that are paths, wherever in it they stand.
PATH = re.compile(r"(.+_(dir|file)|checkpoint|predictions|encoder_weights)")
FROM_RECIPE = re.compile(r"\$@recipe\['(?P<name>\w+)'\]")
# Those that may be lists of paths.
SEVERAL = ("dataset_dir",)


def read_arguments(arguments: Sequence[str]) -> tuple[list[str], dict[str, str | None]]:
    """What was typed, as Fire divides it and before it makes Python of it.

    Args:
        arguments: of the command line, such as ``sys.argv[1:]``.

    Returns:
        Arguments without a name, and name (with "_" for "-") to value of the others; None where no value was given.

    """
    plain: list[str] = []
    options: dict[str, str | None] = {}
    rest = list(arguments)
    while rest and rest[0] != "--":
        text = rest.pop(0)
        found = OPTION.fullmatch(text)
        if found is None:
            plain.append(text)
            continue
        value = found["value"]
        if value is None and rest and rest[0] != "--" and not OPTION.fullmatch(rest[0]):
            value = rest.pop(0)
        options[found["name"].replace("-", "_")] = value
    return plain, options


def config_entries(files: Iterable[str | os.PathLike]) -> dict[str, Any]:
    """The top-level entries of a bundle's configuration, which are its options, and their defaults.

    Args:
        files: the configuration; a later one replaces entries of an earlier one.

    """
    from monai.bundle import ConfigParser

    entries: dict[str, Any] = {}
    for file in files:
        content = ConfigParser.load_config_file(str(file))
        # Of "validate#handlers" there is no default that could be told from here.
        entries |= {_first(key): value if key == _first(key) else None for key, value in content.items()}
    return entries


def check_known(options: Collection[str], known: Collection[str], where: str) -> None:
    """Refuse options that do not exist, which would be passed over without a word.

    Args:
        options: their names; of ``network_def#channels`` the first part counts.
        known: names that exist.
        where: what has those options, for the message.

    Raises:
        ConfigError: names the option, and the one that may have been meant.

    """
    refuse_unknown([f"--{_first(name)}" for name in options], [f"--{name}" for name in sorted(known)], where)


def check_kinds(options: Mapping[str, str | None], defaults: Mapping[str, Any]) -> None:
    """Refuse text where a switch or a number is wanted: ``false`` is text for Python, and counts as true.

    Args:
        options: name to value, as they were typed.
        defaults: top-level entries of the configuration as its files have them, with their ``recipes``.

    Raises:
        ConfigError: names the option and what it takes.

    """
    recipes = [recipe for recipe in (defaults.get("recipes") or {}).values() if isinstance(recipe, Mapping)]
    for name, value in options.items():
        default = defaults.get(name)
        if isinstance(default, str) and (found := FROM_RECIPE.fullmatch(default)):
            default = next(
                (r[found["name"]] for r in recipes if not isinstance(r.get(found["name"]), str | None)), None
            )
        arrived = True if value is None else as_arrived(value)
        expression = isinstance(arrived, str) and arrived.startswith(("$", "@", "%"))
        if expression or not isinstance(default, bool | int | float):
            continue
        if isinstance(default, bool) and not isinstance(arrived, bool):
            raise ConfigError(f"--{name} must be True or False, not {value!r}.")
        if not isinstance(default, bool) and (isinstance(arrived, bool) or not isinstance(arrived, int | float | None)):
            raise ConfigError(f"--{name} must be a number, such as {default!r}, not {value!r}.")


def check_paths(options: Mapping[str, str | None], config: Mapping[str, Any]) -> None:
    """Refuse paths that do not arrive as they were typed, or are none.

    ``2025`` arrives as a number, ``a, b`` as two values and ``run#3`` as ``run``; ``./2025`` and so on arrive as typed.

    Args:
        options: name to value, as they were typed.
        config: top-level entries of the configuration, as they arrived.

    Raises:
        ConfigError: names the option, what arrived, and what to type.

    """
    for name, value in options.items():
        key = re.split(r"#|::", name)[-1]
        if PATH.fullmatch(key):
            _check_typed(name, value, key in SEVERAL, config)
    for key, value in config.items():
        if PATH.fullmatch(key):
            for path in value if key in SEVERAL and isinstance(value, list | tuple) else [value]:
                if path is not None and not isinstance(path, str | os.PathLike):
                    raise ConfigError(f"{key} must be a path, and is {path!r}. Give it as text: './{path}'.")


def _check_typed(name: str, value: str | None, several: bool, config: Mapping[str, Any]) -> None:
    if value is None or not value.strip():
        raise ConfigError(f"--{name} has no value: give a path, or leave the option out.")
    arrived = as_arrived(value)
    quoted = value[:1] in ("'", '"') and isinstance(arrived, str)
    if arrived is None:
        raise ConfigError(f"--{name} None is no path: leave the option out, or type ./None.")
    if several and isinstance(arrived, list | tuple) and (value[0] in "[(" or not Path(value).exists()):
        return
    if arrived != value and not quoted:
        raise ConfigError(
            f"--{name} {value!r} does not arrive as the path that was typed, but as {arrived!r}: command lines take"
            f" values for Python. Type ./{value} in quotes, or the whole path."
        )
    if value.startswith("~") and not several:
        raise ConfigError(
            f"--{name} {value}: the shell has not replaced the ~. Put a space before it, or type it whole."
        )
    if re.fullmatch(r"@\w+", value) and value[1:] not in config:
        raise ConfigError(f"--{name} {value} is taken for a reference to an entry {value[1:]!r}. Type ./{value}.")


def as_arrived(value: str) -> Any:
    """What Fire, and so ``monai.bundle``, makes of a value."""
    # A bundle that is run by a program of one's own needs no Fire.
    from fire.parser import DefaultParseValue

    try:
        return DefaultParseValue(value)
    except Exception:  # noqa: BLE001  whatever Python says to what was typed
        return value


def _first(name: str) -> str:
    """Of ``validate#handlers`` or ``+initialize`` the top-level entry."""
    return re.split(r"#|::", name.lstrip("+"))[0]
