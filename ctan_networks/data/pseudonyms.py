# SPDX-License-Identifier: Apache-2.0
"""Cases whose folder is named after the patient: they go by a pseudonym."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

__all__ = ["pseudonym", "tell_renamed", "without_folder_name"]

logger = logging.getLogger(__name__)

PSEUDONYM = "case_"


def pseudonym(name: str) -> str:
    """The pseudonym of a folder's name."""
    return PSEUDONYM + sha256(os.fsencode(name)).hexdigest()[:10]


def without_folder_name(text: str, item: Mapping[str, Any]) -> str:
    """A message on a case with a pseudonym, in which the name of its folder is the pseudonym too."""
    case = str(item.get("case", ""))
    # The folder that was given, or the one that it was converted from.
    name = os.path.basename(str(item.get("source", item.get("image", ""))))
    return text.replace(name, case) if _renamed(case, name) else text


def tell_renamed(items: Sequence[Mapping[str, Any]]) -> None:
    """Say, without a name, that cases have pseudonyms."""
    renamed = sum(_renamed(str(i["case"]), os.path.basename(str(i.get("source", i["image"])))) for i in items)
    if renamed:
        logger.info(
            "%d of %d folders are named after their patients: those cases are called %s...",
            renamed,
            len(items),
            PSEUDONYM,
        )


def _renamed(case: str, name: str) -> bool:
    return bool(name) and case == pseudonym(name)
