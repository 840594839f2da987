# SPDX-License-Identifier: Apache-2.0
"""A data set whose decoded cases are kept on disk, and whose draws depend on (seed, epoch, case) alone."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from monai.data import PersistentDataset
from monai.transforms import Compose, Transform
from monai.transforms.traits import RandomizableTrait
from monai.utils import convert_to_tensor

from ctan_networks.data.fingerprint import fingerprint, fingerprint_files
from ctan_networks.data.meta import pack_meta, unpack_meta
from ctan_networks.data.pseudonyms import without_folder_name
from ctan_networks.errors import DataError, reason_of
from ctan_networks.utils import archive_damage, atomic_path, derive_seed, remove_leftovers

__all__ = ["CachedDataset"]

logger = logging.getLogger(__name__)

# Seconds after which a half-written entry is no longer one that another process is writing.
LEFT_OVER = 3600.0
# What readers put into an entry. Since 2 their metadata is geometry alone: older entries may hold texts of a header.
FORMAT = 2


class CachedDataset(PersistentDataset):
    """MONAI's persistent data set with a cache that knows when it is stale, and seeded draws.

    The deterministic part of the preprocessing, up to the first random transform (or
    :py:class:`ctan_networks.transforms.CacheBoundary`), is computed once for each case. A cache entry is named by what
    defines it: the item, size and time of each of its files, and the transforms with their settings. Entries hold
    tensors and plain values only and are read with ``weights_only=True``; they are written beside their place and
    renamed, and one that cannot be read, or whose checksums are wrong, is made anew. Several processes may share the
    folder. Where it cannot be written to, as on a full disk, that is logged once, and cases are prepared each time.

    Each case that comes out names itself under "case".

    The random part draws from a generator seeded with (seed, epoch, case). The epoch comes with the index from
    :py:class:`ctan_networks.data.EpochSampler`; a plain index means epoch 0.

    Args:
        data: list of items (dictionaries of paths and values).
        transform: the preprocessing.
        cache_dir: folder of the cache, made if need be. None: no cache.
        seed: seed of the draws.
        adapt: turns each item into the form that the transforms want, such as
            :py:class:`ctan_networks.tools.monai_label.MONAILabelItem`; None: items are taken as they are.

    Raises:
        DataError: when a case cannot be read or prepared; the message names it.

    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        transform: Sequence[Callable] | Callable,
        cache_dir: str | os.PathLike | None = None,
        seed: int = 0,
        adapt: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None,
    ) -> None:
        if len(data) == 0:
            raise DataError(
                "the data list is empty: give a dataset_dir that holds cases. In MONAI Label, label more images, or ask"
                " for another val_split."
            )
        super().__init__(data=data, transform=transform, cache_dir=None)
        self.seed = seed
        self.adapt = adapt
        # Shared with the loader's workers, which are new ones each epoch: it is told once.
        self.told = torch.zeros((), dtype=torch.bool)
        self.set_data(data)
        self.transform_hash = fingerprint([FORMAT, self._cached_transforms()])
        if cache_dir is not None:
            self.cache_dir = Path(cache_dir)
            with suppress(OSError, RuntimeError):
                self.told.share_memory_()
            try:
                self.cache_dir.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                self._tell(error)
                self.cache_dir = None
            else:
                remove_leftovers(self.cache_dir, age=LEFT_OVER)

    def _cached_transforms(self) -> list[Callable]:
        cached: list[Callable] = []
        for transform in self.transform.flatten().transforms:
            if isinstance(transform, RandomizableTrait) or not isinstance(transform, Transform):
                break
            cached.append(transform)
        return cached

    def set_data(self, data: Sequence) -> None:
        """Exchange the items. Entries of other items stay in the cache: their names say what they are."""
        self.data = data if self.adapt is None else [self.adapt(item) for item in data]

    def __getitem__(self, index: Any) -> Any:
        epoch, index = index if isinstance(index, tuple) else (0, index)
        item = self.data[index]
        name = str(item.get("case", item.get("image", index)))
        try:
            prepared = self._cachecheck(item)
            if isinstance(self.transform, Compose):
                self.transform.set_random_state(seed=derive_seed(self.seed, epoch, name) % 2**32)
            out = self._post_transform(prepared)
        except Exception as error:  # noqa: BLE001  whatever a transform raises, it is told with the case's name
            reason = reason_of(error)
            hidden = without_folder_name(reason, item)
            told = hidden if hidden.startswith(f"case {name}:") else f"case {name}: {hidden}"
            # The error that it comes from names the folder too.
            raise DataError(told) from (error if hidden == reason else None)
        for part in out if isinstance(out, list) else [out]:
            if isinstance(part, dict):
                part.setdefault("case", name)
        return out

    def _cachecheck(self, item_transformed: Any) -> Any:
        if self.cache_dir is None:
            return self._pre_transform(deepcopy(item_transformed))
        key = fingerprint([item_transformed, fingerprint_files(item_transformed), self.transform_hash])
        entry = self.cache_dir / f"{key}.pt"
        # Path.is_file() raises where the folder may no longer be entered, or its disk has gone.
        if os.path.isfile(entry):
            reason = archive_damage(entry)
            try:
                if not reason:
                    return unpack_meta(torch.load(entry, weights_only=True))
            except Exception as error:  # noqa: BLE001  whatever is wrong with a cache entry, the case is still there
                reason = type(error).__name__
            logger.warning("cache entry %s cannot be read (%s): made anew.", entry.name, reason)
        prepared = self._pre_transform(deepcopy(item_transformed))
        packed = pack_meta(convert_to_tensor(prepared, convert_numeric=False, track_meta=True))
        try:
            with atomic_path(entry) as temporary, open(temporary, "wb") as file:
                torch.save(packed, file)
        # torch has no error of its own for a file that cannot be written.
        except (OSError, RuntimeError) as error:
            self._tell(error)
        return prepared

    def _tell(self, error: Exception) -> None:
        if not bool(self.told):
            logger.warning(
                "the cache %s cannot be written to (%s): cases are prepared anew each time. Free space there, or give"
                " another --cache_dir.",
                self.cache_dir,
                error,
            )
        self.told.fill_(True)
