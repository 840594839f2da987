# SPDX-License-Identifier: Apache-2.0
"""The prescription of each case that is to be predicted on."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ctan_networks.data.pseudonyms import without_folder_name
from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.convert import PROVENANCE, read_provenance
from ctan_networks.radiotherapy.convert_dose import prescription_to_predict
from ctan_networks.radiotherapy.dose_check import check_given
from ctan_networks.radiotherapy.nifti_patient import CT

__all__ = ["noted_prescription", "with_prescriptions"]

logger = logging.getLogger(__name__)


def with_prescriptions(items: Iterable[Mapping[str, Any]], prescription: float | None = None) -> list[dict[str, Any]]:
    """Add to each case the prescription that its plan states; what was decided goes into the log.

    A patient whose files are of two patients, or whose plan prescribes another dose than the one beside it, is named in
    the log and left out.

    Args:
        items: with "case" and "image": a DICOM folder, ``ct.nii.gz`` of a converted patient, or any other volume, which
            states no prescription.
        prescription: in Gy, of all patients, whatever their plans state; None: what each plan states.

    Returns:
        The items, with "prescription" in Gy where it is known.

    Raises:
        DataError: when no case is left.
        ConfigError: when the prescription is no dose in Gy.

    """
    prescription = check_given(prescription)
    items = list(items)
    usable, reason = [], ""
    for item in items:
        try:
            usable.append(_with_prescription(item, prescription))
        except DataError as error:  # noqa: PERF203  each case by itself
            reason = without_folder_name(str(error), item)
            logger.error("skipped: case %s: %s", item["case"], reason)
    if items and not usable:
        raise DataError(f"none of {len(items)} cases can be used. The last: {reason}")
    return usable


def noted_prescription(folder: Path) -> tuple[Any, str]:
    """In Gy or None, and its source: of a patient in NIfTI, from the provenance of a conversion that may lie there."""
    known = read_provenance(folder)
    return (known or {}).get("prescription_gy"), f"as its {PROVENANCE} states" if known else f"there is no {PROVENANCE}"


def _with_prescription(item: Mapping[str, Any], given: float | None) -> dict[str, Any]:
    image = Path(item["image"])
    gray, source = given, "as given"
    if given is None:
        if image.is_dir():
            gray, source = prescription_to_predict(image)
        else:
            gray, source = noted_prescription(image.parent) if image.name == CT else (None, "a volume states none")
    if gray is None:
        logger.info("case %s: prescription not known: %s", item["case"], without_folder_name(source, item))
        return dict(item)
    logger.info("case %s: prescription %g Gy, %s", item["case"], gray, source)
    return {**item, "prescription": float(gray)}
