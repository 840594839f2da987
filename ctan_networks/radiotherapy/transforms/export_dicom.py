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
from ctan_networks.radiotherapy.results import export_dicom, reference_series, to_series_grid
from ctan_networks.transforms.save import case_name
from ctan_networks.utils import shortened

__all__ = ["ExportDICOMd"]

logger = logging.getLogger(__name__)


class ExportDICOMd(Transform):
    """Write RTSTRUCT, SEG, RTDOSE (and RTPLAN, CT where they are missing) to ``<output_dir>/<case>/dicom``.

    See :py:func:`ctan_networks.radiotherapy.export_dicom`. Where the input is a DICOM folder the results refer to it.

    Args:
        structures: names of the channels of the segmentation.
        output_dir: folder of the results.
        prescription: Gy, for the plan that is written where there is none; None: the case's own, if it has one.
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
        series, plan = reference_series(
            str(d[self.image_key].meta["filename_or_obj"]), folder, shortened(name, TEXT), self.reader
        )
        masks = dose = None
        if self.segmentation_key in d:
            volume = d[self.segmentation_key]
            channels = np.asarray(torch.as_tensor(volume).cpu())
            if len(channels) != len(self.structures):
                raise DataError(
                    f"case {name}: {len(channels)} channels for {len(self.structures)} structures. Name the network's"
                    " structures, in its order."
                )
            masks = {
                structure: to_series_grid(channel, volume.affine.numpy(), series, order=0) > 0.5
                for structure, channel in zip(self.structures, channels, strict=True)
            }
        if self.dose_key in d:
            volume = d[self.dose_key]
            dose = to_series_grid(np.asarray(torch.as_tensor(volume).cpu())[0], volume.affine.numpy(), series, order=1)
        prescription = self.prescription or d.get(self.prescription_key)
        written = export_dicom(
            series,
            folder,
            masks=masks,
            dose=dose,
            plan=plan,
            prescription=float(prescription) if prescription else None,
            seg=self.seg,
        )
        logger.info("case %s: %s written to %s", name, ", ".join(written), folder)
        return d
