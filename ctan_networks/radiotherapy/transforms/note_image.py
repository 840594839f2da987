# SPDX-License-Identifier: Apache-2.0
"""Which image a case's results belong to, as part of them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from monai.data import ImageReader
from monai.transforms import Transform

from ctan_networks.data.nifti import read_nifti
from ctan_networks.radiotherapy.image_mark import SERIES, VOXELS, mark, voxel_content
from ctan_networks.transforms.summaries import note

__all__ = ["NoteImaged"]


class NoteImaged(Transform):
    """Note which image was predicted on: ``result["image"]``.

    It holds a salted hash and no identifier: of the SeriesInstanceUID under "series" where the image is a DICOM series,
    else of the voxels under "voxels"; and under "files" the names of the volumes that were written with it. So results
    that are exported later are not given to another image, see
    :py:meth:`ctan_networks.radiotherapy.reference_ct.ReferenceCT.require_origin`, and not mixed with older ones.

    Args:
        image_key: the image, MetaTensor, whose ``filename_or_obj`` says where it came from.
        reader: reads an image that is not DICOM; None: NIfTI alone is read.

    """

    def __init__(self, image_key: str = "image", reader: ImageReader | None = None) -> None:
        self.image_key = image_key
        self.reader = reader

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        meta = d[self.image_key].meta
        if SERIES in meta:
            origin = {SERIES: meta[SERIES]}
        else:
            path = Path(meta["filename_or_obj"])
            array, geometry = self.reader.get_data(self.reader.read(path)) if self.reader else read_nifti(path)
            origin = {VOXELS: mark(voxel_content(array, geometry["affine"]))}
        files = sorted(Path(file).name for file in d.get("files", {}).values())
        return note(d, {"image": {**origin, "files": files}})
