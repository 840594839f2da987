# SPDX-License-Identifier: Apache-2.0
"""From the names that clinics give their ROIs to the names of structures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import combinations

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.radiotherapy.dose_check import is_target

__all__ = ["complete_patterns", "match_rois", "pattern_example", "unused_targets"]

Patterns = Mapping[str, Sequence[str]]


def complete_patterns(
    usual: Patterns, own: Mapping[str, Sequence[str] | str] | None = None, structures: Sequence[str] = ()
) -> dict[str, list[str]]:
    """Patterns of all structures: one's own for those that are given, the usual ones for the others.

    Args:
        usual: structure to patterns of ROI names.
        own: structure to its pattern or patterns, which replace the usual ones of this structure.
        structures: further structures, which have no usual patterns.

    Raises:
        ConfigError: when there is no structure of a name, or patterns are no text.

    """
    merged = {name: list(patterns) for name, patterns in usual.items()}
    if not isinstance(own or {}, Mapping):
        raise ConfigError(f"roi_patterns must name structures and their patterns, got {own!r}. {_form('PTV')}")
    for name, patterns in (own or {}).items():
        listed = [patterns] if isinstance(patterns, str) else list(patterns or ())
        if name not in usual and name not in structures:
            known = ", ".join(dict.fromkeys([*usual, *structures]))
            raise ConfigError(f"roi_patterns: there is no structure {name}. The structures are {known}.")
        if not listed or not all(isinstance(pattern, str) for pattern in listed):
            raise ConfigError(f"roi_patterns: the patterns of {name} must be text, got {patterns!r}. {_form(name)}")
        merged[name] = listed
    return merged


def match_rois(rois: Sequence[str], patterns: Patterns) -> tuple[dict[str, str], list[str]]:
    """Find the ROI of each structure.

    A pattern is the name of an ROI, or a regular expression that must match a whole name. Case, and spaces,
    underscores, dots and hyphens of the name, count for nothing: ``"fem(oral)?head(lt?|left)"`` matches
    ``Femoral Head Lt`` and ``Fem_Head_L``. A structure's patterns are tried in their order, so that "bladder" comes
    before "bladder.*" where both are drawn.

    Args:
        rois: names of the ROIs that have contours.
        patterns: structure to its patterns.

    Returns:
        Structure to the name of its ROI, for those that are there; and the names that belong to no structure.

    Raises:
        ConfigError: when a pattern is no regular expression.
        DataError: when one pattern matches two ROIs, or two structures have one ROI.

    """
    plain = {roi: _plain(roi) for roi in rois}
    found: dict[str, str] = {}
    for structure, expressions in patterns.items():
        for expression in expressions:
            fitting = _fitting(plain, structure, expression)
            if len(fitting) > 1:
                raise DataError(
                    f"structure {structure}: the pattern {expression!r} fits {len(fitting)} ROIs: {', '.join(fitting)}."
                    f" Name the one to use, {pattern_example(structure, fitting[0])}, or rename an ROI."
                )
            if fitting:
                found[structure] = fitting[0]
                break
    for first, second in combinations(found, 2):
        if found[first] == found[second]:
            raise DataError(
                f"the ROI {found[first]} fits two structures, {first} and {second}. Name the ROI of each,"
                f" {pattern_example(second, 'its name')}."
            )
    used = set(found.values())
    return found, [roi for roi in rois if roi not in used]


def pattern_example(structure: str, roi: str) -> str:
    """How to say on the command line which ROI a structure is."""
    return f'such as --roi_patterns "{{{structure!r}: [{roi!r}]}}"'


def unused_targets(missing: Sequence[str], unmatched: Sequence[str]) -> str:
    """What to say of ROIs that look like targets, where targets are missing; nothing where there are none.

    Args:
        missing: names of the targets that were not found.
        unmatched: names of the ROIs that belong to no structure.

    """
    alike = [name for name in unmatched if is_target(name)]
    if not missing or not alike:
        return ""
    return (
        f"no ROI has a name that is known for {' or '.join(missing)}, and these look like targets and are not used:"
        f" {', '.join(alike)}. If one is, say so, {pattern_example(missing[-1], alike[0])}."
    )


def _form(structure: str) -> str:
    return f"Write them {pattern_example(structure, 'my name of it')}."


def _plain(name: str) -> str:
    return re.sub(r"[\s_.\-]+", "", name).lower()


def _fitting(plain: Mapping[str, str], structure: str, expression: str) -> list[str]:
    named = [roi for roi, name in plain.items() if name == _plain(expression)]
    try:
        compiled = re.compile(expression, re.IGNORECASE)
    except re.error as error:
        if named:
            return named
        raise ConfigError(
            f"structure {structure}: the pattern {expression!r} is no ROI's name and no regular expression ({error})."
        ) from error
    return [roi for roi, name in plain.items() if roi in named or compiled.fullmatch(name)]
