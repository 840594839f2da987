# SPDX-License-Identifier: Apache-2.0
"""MONAI's ``Spacingd`` without a fault of it, and with a limit."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from math import prod
from typing import Any

from monai.data import MetaTensor
from monai.transforms import Spacingd

from ctan_networks.errors import DataError

__all__ = ["KeepKeysSpacingd"]

# Resampling may make this many voxels, or this many times those of the file, whichever is more. Coarser voxels hold
# nothing that a network could go by, and would fill the memory: 48^3 of 100 mm become 3 * 10^9 of 3.9 x 3.9 x 2.5 mm.
MAX_RESAMPLED, MAX_GROWTH = 2**24, 8


class KeepKeysSpacingd(Spacingd):
    """MONAI's ``Spacingd`` for data that has keys such as ``image_path`` beside ``image``.

    Since MONAI 1.6.0 ``Spacingd`` takes every entry whose key begins with ``<key>_`` for metadata of a NIfTI image and
    calls its ``update`` (monai/transforms/spatial/dictionary.py, lines 526 to 531 of 1.6.1). MONAI Label puts the
    string ``image_path`` into the data: each inference then ends in "'str' object has no attribute 'update'". Here such
    entries, unless they are dictionaries, are kept away from the transform and put back behind it.

    Arguments are those of ``monai.transforms.Spacingd``; none of ``keys`` may begin with another one and "_".

    Raises:
        DataError: when the voxels are so coarse that memory would be filled with what lies between them.

    """

    def __call__(self, data: Mapping[Hashable, Any], lazy: bool | None = None) -> dict[Hashable, Any]:
        for key in self.key_iterator(dict(data)):
            self._check_size(data[key])
        taken = set(self.keys)
        held: dict[Hashable, Any] = {
            key: value
            for key, value in data.items()
            if key not in taken
            and isinstance(key, str)
            and not isinstance(value, dict)
            and any(key.startswith(f"{name}_") for name in taken)
        }
        rest = {key: value for key, value in data.items() if key not in held}
        return {**super().__call__(rest, lazy), **held}

    def _check_size(self, image: Any) -> None:
        if not isinstance(image, MetaTensor):
            return
        # Lazily: the size is known, and nothing is computed.
        probe: Any = self.spacing_transform(MetaTensor(image.as_tensor(), affine=image.affine), lazy=True)
        size = [int(n) for n in probe.peek_pending_shape()]
        before, after = prod(image.shape[1:]), prod(size)
        if after > max(MAX_RESAMPLED, MAX_GROWTH * before):
            raise DataError(
                f"voxels of {' x '.join(f'{s:.4g}' for s in image.pixdim.tolist())} mm are too coarse: resampled,"
                f" {' x '.join(str(n) for n in image.shape[1:])} voxels would be {' x '.join(map(str, size))}. Set the"
                " voxel size right, or give a finer image."
            )
