# SPDX-License-Identifier: Apache-2.0
"""From the names that clinics give their ROIs to the names of structures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ctan_networks.errors import ConfigError, DataError

__all__ = ["match_rois"]


def match_rois(rois: Sequence[str], patterns: Mapping[str, Sequence[str]]) -> tuple[dict[str, str], list[str]]:
    """Find the ROI of each structure.

    A pattern is a regular expression that must match a whole name; case, and spaces, underscores, dots and hyphens,
    count for nothing: ``"fem(oral)?head(lt?|left)"`` matches ``Femoral Head Lt`` and ``Fem_Head_L``. A structure's
    patterns are tried in their order, so that "bladder" comes before "bladder.*" where both are drawn.

    Args:
        rois: names of the ROIs that have contours.
        patterns: structure to its patterns.

    Returns:
        Structure to the name of its ROI, for those that are there; and the names that belong to no structure.

    Raises:
        ConfigError: when a pattern is no regular expression.
        DataError: when one pattern matches two ROIs.

    """
    plain = {roi: re.sub(r"[\s_.\-]+", "", roi).lower() for roi in rois}
    found: dict[str, str] = {}
    for structure, expressions in patterns.items():
        for expression in expressions:
            try:
                compiled = re.compile(expression, re.IGNORECASE)
            except re.error as error:
                raise ConfigError(
                    f"structure {structure}: the pattern {expression!r} is no regular expression ({error})."
                ) from error
            fitting = [roi for roi, name in plain.items() if compiled.fullmatch(name)]
            if len(fitting) > 1:
                raise DataError(
                    f"structure {structure}: the pattern {expression!r} fits {len(fitting)} ROIs: {', '.join(fitting)}."
                    " Make the patterns narrower, put the one to be used first, or rename an ROI."
                )
            if fitting:
                found[structure] = fitting[0]
                break
    used = set(found.values())
    return found, [roi for roi in rois if roi not in used]
