# SPDX-License-Identifier: Apache-2.0
"""The last step of inference under MONAI Label: what its server sends back."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Transform
from monai.utils import MetaKeys

from ctan_networks.errors import ConfigError, DataError

__all__ = ["AnswerMONAILabeld"]

VOLUMES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
# Affines of one grid differ by rounding: part of a voxel.
SAME_GRID = 0.01
PICTURES = (".png", ".tif", ".tiff", ".bmp")


class AnswerMONAILabeld(Transform):
    """Give MONAI Label's writer one array under ``pred``, and how to write it. Elsewhere it does nothing.

    The server puts ``image_path`` into the data; that is how it is recognised. Its writer
    (monailabel/transform/writer.py, 0.8.5) takes the file's extension and data type from the data: the image's own
    extension is no good where the image is a DICOM folder, a JPEG (lossy) or a CSV. What a client asks for
    (``result_extension``, ``result_dtype``, as 3D Slicer does) stands, but for the type of a volume that is no label
    map. Photographs get a mask of two axes. With nothing to show (classification alone) the answer is JSON only. A
    volume that does not lie on the image's own grid is refused: the server would stretch it to the image's size.

    Args:
        volumes: name that a client asks for to the key of the volume ``[1, *spatial]`` on the input's grid; the first
            is sent when none is asked for. A floating-point volume is sent as float32, any other as uint8.
        which: the name asked for; a list stands for its first entry, as ``displayable_configs`` of MONAI Label gives.

    Raises:
        ConfigError: when a client asks for a volume that there is not.
        DataError: when the volume lies on another grid than the image.

    """

    def __init__(self, volumes: Mapping[str, str] | None = None, which: str | Sequence[str] | None = None) -> None:
        self.volumes = dict(volumes or {})
        self.which = which if isinstance(which, str) or not which else which[0]
        if self.volumes and self.which is not None and self.which not in self.volumes:
            raise ConfigError(f"no volume {self.which!r} to return: choose one of {', '.join(self.volumes)}.")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        if "image_path" not in d:
            return d
        wanted = [self.which] if self.which is not None else list(self.volumes)
        key = next((self.volumes[name] for name in wanted if name in self.volumes and self.volumes[name] in d), None)
        if key is None:
            return _without_volume(d)
        volume = d[key]
        _require_grid(key, volume, d["image"])
        if torch.as_tensor(volume).is_floating_point() and volume.ndim == 4:
            d[key], d["result_dtype"] = volume.float(), "float32"
        else:
            volume = volume.to(torch.uint8)
            d["result_dtype"] = d.get("result_dtype") or "uint8"
        d["pred"] = volume[0] if volume.ndim == 3 else volume
        if not d.get("result_extension"):
            d["result_extension"] = _extension(str(d["image_path"]), flat=volume.ndim == 3)
        return d


def _extension(path: str, flat: bool) -> str:
    """The image's own extension, where a label can be stored in it."""
    name = Path(path).name.lower()
    return next((e for e in (PICTURES if flat else VOLUMES) if name.endswith(e)), ".png" if flat else ".nii.gz")


def _require_grid(key: str, volume: torch.Tensor, image: torch.Tensor) -> None:
    """Refuse a volume on another grid than the image had when it was read."""
    meta = getattr(image, "meta", {})
    shape, affine = meta.get(MetaKeys.SPATIAL_SHAPE), meta.get(MetaKeys.ORIGINAL_AFFINE)
    if volume.ndim != 4 or shape is None or affine is None:
        return
    corners = np.array(np.meshgrid(*[(0, side - 1) for side in volume.shape[1:]], [1])).reshape(4, -1)
    apart = (np.asarray(getattr(volume, "affine", affine)) - np.asarray(affine)) @ corners
    size = np.linalg.norm(np.asarray(affine)[:3, :3], axis=0).min()
    if tuple(volume.shape[1:]) != tuple(np.asarray(shape).ravel().tolist()) or np.abs(apart).max() > SAME_GRID * size:
        raise DataError(
            f"{key} of {tuple(volume.shape[1:])} voxels does not lie on the grid of the image"
            f" {tuple(np.asarray(shape).ravel().tolist())}: it would be stretched. Invert the preprocessing on it."
        )


def _without_volume(d: dict[Hashable, Any]) -> dict[Hashable, Any]:
    """Nothing to write: no file, and no geometry that the server would bring the placeholder back to."""
    d["pred"], d["image"] = np.zeros(1, np.uint8), np.zeros(1, np.uint8)
    d.pop("image_meta_dict", None)
    d["result_write_to_file"] = False
    return d
