# SPDX-License-Identifier: Apache-2.0
"""Load volumes with one reader, whose errors reach the user."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.data import ImageReader
from monai.transforms import LoadImaged

__all__ = ["LoadCased"]


class LoadCased(LoadImaged):
    """MONAI's ``LoadImaged`` with one reader and no other.

    ``LoadImaged`` tries every registered reader when the given one raises, and reports that none was suitable; the
    reason why a file cannot be read is then lost in the log.

    Args:
        keys: keys of the paths.
        reader: the reader.
        allow_missing_keys: go on when a key is not there.

    """

    def __init__(self, keys: KeysCollection, reader: ImageReader, allow_missing_keys: bool = False) -> None:
        super().__init__(
            keys,
            reader=reader,  # type: ignore[arg-type]  # MONAI takes readers, its annotation does not
            image_only=True,
            allow_missing_keys=allow_missing_keys,
        )
        self.reader = reader

    def __call__(self, data: Mapping[Hashable, Any], reader: ImageReader | None = None) -> dict[Hashable, Any]:
        return super().__call__(data, reader=self.reader if reader is None else reader)
