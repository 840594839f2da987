# SPDX-License-Identifier: Apache-2.0
"""The last step of inference, when asked for: the case's results as DICOM."""

from __future__ import annotations

import logging
import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import ImageReader
from monai.transforms import Transform

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.write import TEXT
from ctan_networks.radiotherapy.dicom.write_seg import require_highdicom
from ctan_networks.radiotherapy.image_mark import SERIES
from ctan_networks.radiotherapy.reference_ct import ReferenceCT, on_grid
from ctan_networks.radiotherapy.results import export_dicom
from ctan_networks.radiotherapy.transforms.dose_in_gray import UNIT
from ctan_networks.utils import case_name, shortened

__all__ = ["ExportDICOMd"]

logger = logging.getLogger(__name__)


class ExportDICOMd(Transform):
    """Write RTSTRUCT, SEG, RTDOSE and RTPLAN (and CT where the input is no DICOM) to ``<output_dir>/<case>/dicom``.

    See :py:func:`ctan_networks.radiotherapy.export_dicom`. Where the input is a DICOM folder the results refer to it.
    Results that lie on another grid, and a folder whose CT is no longer the one that was predicted on, are refused.

    Args:
        structures: names of the channels of the segmentation.
        output_dir: folder of the results.
        prescription: Gy, for the plan that is written; None: the case's own, or without it what the dose was predicted
            for.
        enabled: False: do nothing.
        seg: write SEG too.
        segmentation_key: masks ``[S, *spatial]``, MetaTensor; may be absent.
        dose_key: Gy, ``[1, *spatial]``, MetaTensor; may be absent.
        image_key: the CT, whose ``filename_or_obj`` says where the case came from.
        prescription_key: the case's prescription in Gy.
        reader: reads an input that is not DICOM; None: NIfTI alone is read.

    Raises:
        ConfigError: when SEG is asked for and highdicom is not installed.

    """

    def __init__(
        self,
        structures: Sequence[str],
        output_dir: str | os.PathLike,
        prescription: float | None = None,
        enabled: bool = False,
        seg: bool = True,
        segmentation_key: str = "predicted_segmentation",
        dose_key: str = "predicted_dose",
        image_key: str = "image",
        prescription_key: str = "prescription",
        reader: ImageReader | None = None,
    ) -> None:
        if enabled and seg:
            require_highdicom()  # now, and not after hours of inference
        self.structures = tuple(structures)
        self.output_dir = Path(output_dir)
        self.prescription = prescription
        self.enabled = enabled
        self.seg = seg
        self.segmentation_key = segmentation_key
        self.dose_key = dose_key
        self.image_key = image_key
        self.prescription_key = prescription_key
        self.reader = reader

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        if not self.enabled:
            return d
        name = case_name(d)
        folder = self.output_dir / name / "dicom"
        image = d[self.image_key].meta
        ct = ReferenceCT.read(str(image["filename_or_obj"]), self.reader)
        if SERIES in image:
            ct.require_origin(f"case {name}", image)
        masks = dose = None
        if self.segmentation_key in d:
            volume = d[self.segmentation_key]
            channels = np.asarray(torch.as_tensor(volume).cpu())
            if len(channels) != len(self.structures):
                raise DataError(
                    f"case {name}: {len(channels)} channels for {len(self.structures)} structures. Name the network's"
                    " structures, in its order."
                )
            what = f"case {name}: {self.segmentation_key}"
            masks = {
                structure: on_grid(what, channel, volume.affine.numpy(), ct) > 0.5
                for structure, channel in zip(self.structures, channels, strict=True)
            }
        if self.dose_key in d:
            volume = d[self.dose_key]
            values = np.asarray(torch.as_tensor(volume).cpu())[0]
            dose = on_grid(f"case {name}: {self.dose_key}", values, volume.affine.numpy(), ct)
        prescription = self.prescription or d.get(self.prescription_key) or d.get(UNIT)
        written = export_dicom(
            ct.as_series(folder, shortened(name, TEXT)),
            folder,
            masks=masks,
            dose=dose,
            prescription=float(prescription) if prescription else None,
            seg=self.seg,
        )
        logger.info("case %s: %s written to %s", name, ", ".join(written), folder)
        return d
