# SPDX-License-Identifier: Apache-2.0
"""The last step of inference under MONAI Label: what its server sends back."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Transform

from ctan_networks.errors import ConfigError

__all__ = ["AnswerMONAILabeld"]

VOLUMES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
PICTURES = (".png", ".tif", ".tiff", ".bmp")


class AnswerMONAILabeld(Transform):
    """Give MONAI Label's writer one array under ``pred``, and how to write it. Elsewhere it does nothing.

    The server puts ``image_path`` into the data; that is how it is recognised. Its writer
    (monailabel/transform/writer.py, 0.8.5) takes the file's extension and data type from the data: the image's own
    extension is no good where the image is a DICOM folder, a JPEG (lossy) or a CSV. What a client asks for
    (``result_extension``, ``result_dtype``, as 3D Slicer does) stands, but for the type of a volume that is no label
    map. Photographs get a mask of two axes. With nothing to show (classification alone) the answer is JSON only.

    Args:
        volumes: name that a client asks for to the key of the volume ``[1, *spatial]`` on the input's grid; the first
            is sent when none is asked for. A floating-point volume is sent as float32, any other as uint8.
        which: the name asked for; a list stands for its first entry, as ``displayable_configs`` of MONAI Label gives.

    Raises:
        ConfigError: when a client asks for a volume that there is not.

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


def _without_volume(d: dict[Hashable, Any]) -> dict[Hashable, Any]:
    """Nothing to write: no file, and no geometry that the server would bring the placeholder back to."""
    d["pred"], d["image"] = np.zeros(1, np.uint8), np.zeros(1, np.uint8)
    d.pop("image_meta_dict", None)
    d["result_write_to_file"] = False
    return d
