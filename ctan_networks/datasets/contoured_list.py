# SPDX-License-Identifier: Apache-2.0
"""Data lists of CTs with contours, for networks that are given some."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ctan_networks.data.case_list import existing_path, visible
from ctan_networks.datasets.openkbp.data_list import SPLITS, inference_list
from ctan_networks.datasets.prescriptions import with_prescriptions
from ctan_networks.datasets.prostate.data_list import dicom_rt_inference_list
from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.convert import convert_patient
from ctan_networks.radiotherapy.nifti_patient import CT

__all__ = ["contoured_list"]

logger = logging.getLogger(__name__)


def contoured_list(
    dataset_dir: str | os.PathLike,
    converted_dir: str | os.PathLike,
    patterns: Mapping[str, Sequence[str]],
    split: str | None = None,
    prescription: float | None = None,
) -> list[dict[str, Any]]:
    """List what there is to predict on, with the contours that a physician drew on it.

    A case without contours is named in the log and left out.

    Args:
        dataset_dir: OpenKBP patients as :py:func:`ctan_networks.datasets.openkbp.inference_list` takes them; or one
        patient, or a
            folder of patients: DICOM (CT and RTSTRUCT, in any files and sub-folders), or ``ct.nii.gz`` and a mask
            ``<structure>.nii.gz`` for each structure.
        converted_dir: folder in which masks are made of RTSTRUCT, without identifiers; see
            :py:func:`ctan_networks.radiotherapy.convert.convert_patient`.
        patterns: structure to patterns of ROI names, see
        :py:func:`ctan_networks.radiotherapy.dicom.roi_names.match_rois`.
        split: of OpenKBP; None: all that are there.
        prescription: in Gy, of all patients, whatever their plans state; None: what each plan states.

    Returns:
        One item a case: "case", "image", "contours" (the folder with its masks), and "prescription" in Gy where it is
        known.

    Raises:
        DataError: when no case with contours is there, or two have one name.

    """
    path = existing_path(dataset_dir, "to predict on")
    items: list[dict[str, Any]] = (
        with_prescriptions(inference_list(path, split), prescription)
        if split is not None or _is_openkbp(path)
        else dicom_rt_inference_list(path, prescription)
    )
    usable = []
    for item in items:
        try:
            usable.append({**item, "contours": str(_contours(item, Path(converted_dir), patterns))})
        except DataError as error:  # noqa: PERF203  each case by itself
            logger.error("skipped: case %s: %s", item["case"], error)
    if not usable:
        raise DataError(
            f"{path} holds no CT with contours: each of its {len(items)} cases was skipped, see above. Give folders"
            f" with CT and RTSTRUCT, with {CT} and masks <structure>.nii.gz, or of OpenKBP; or take the network that"
            " needs no contours."
        )
    return usable


def _is_openkbp(path: Path) -> bool:
    root = path / "provided-data" if (path / "provided-data").is_dir() else path
    if root.name == "ct.csv" or (root / "ct.csv").is_file():
        return True
    return root.is_dir() and (
        any((root / name).is_dir() for name in SPLITS) or any((p / "ct.csv").is_file() for p in visible(root))
    )


def _contours(item: Mapping[str, Any], converted_dir: Path, patterns: Mapping[str, Sequence[str]]) -> Path:
    image = Path(item["image"])
    if image.is_dir():
        target = converted_dir / item["case"]
        unmatched = convert_patient(image, target, patterns, need_dose=None).get("unmatched")
        if unmatched:
            logger.info("case %s: ROIs that match no structure: %s", item["case"], ", ".join(unmatched))
        return target
    if image.name in ("ct.csv", CT):
        return image.parent
    raise DataError(f"{image} is a volume without contours.")
