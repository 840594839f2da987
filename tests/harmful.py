# SPDX-License-Identifier: Apache-2.0
"""A pickle that does something when it is loaded."""

from __future__ import annotations

from pathlib import Path


class Harmful:
    """Makes a file when it is unpickled.

    Args:
        mark: the file.
    """

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))
