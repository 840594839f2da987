# SPDX-License-Identifier: Apache-2.0
"""Data lists of patients in DICOM-RT, one folder a patient."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ctan_networks.data.case_list import existing_path, refuse_same_names, visible
from ctan_networks.data.pseudonyms import tell_renamed, without_folder_name
from ctan_networks.datasets.prescriptions import noted_prescription
from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.convert import convert_patient, remove_workplaces, unmatched_rois
from ctan_networks.radiotherapy.convert_dose import judge_prescription
from ctan_networks.radiotherapy.dicom.roi_names import complete_patterns, pattern_example, unused_targets
from ctan_networks.radiotherapy.dose_check import check_given, is_target
from ctan_networks.radiotherapy.nifti_patient import CT, DOSE, is_nifti_patient, other_volumes
from ctan_networks.radiotherapy.patients import is_patient_folder
from ctan_networks.radiotherapy.pseudonyms import case_of_folder
from ctan_networks.reading import is_there

__all__ = ["dicom_rt_list"]

logger = logging.getLogger(__name__)

LAYOUT = (
    "one folder a patient, each with what the planning system exported (CT, RTSTRUCT, RTDOSE, RTPLAN, in any file"
    " names and sub-folders), or with ct.nii.gz, dose.nii.gz and a mask <structure>.nii.gz for each structure"
)
LISTED = 40


def dicom_rt_list(
    dataset_dir: str | os.PathLike,
    converted_dir: str | os.PathLike,
    patterns: Mapping[str, Sequence[str]],
    prescription: float | None = None,
    own_patterns: Mapping[str, Sequence[str] | str] | None = None,
) -> list[dict[str, Any]]:
    """List patients for training and evaluation; DICOM is converted to NIfTI on first use.

    A patient that cannot be used is listed with the reason ("unusable"), and the others go on. ROI names that no
    pattern matches are logged once for all patients.

    Args:
        dataset_dir: one folder a patient: DICOM-RT, or NIfTI (``ct.nii.gz``, ``dose.nii.gz``, ``<structure>.nii.gz``).
        converted_dir: folder of the converted patients.
        patterns: structure to patterns of ROI names, see
            :py:func:`ctan_networks.radiotherapy.dicom.roi_names.match_rois`.
        prescription: in Gy, of all patients, whatever their plans state; None: what each plan states.
        own_patterns: patterns in place of the usual ones, for the structures that it names.

    Returns:
        One item a patient: "case", "source" (its folder), "image", "segmentation" (the folder with the masks) and
        "dose", as far as they are there, and "prescription" in Gy, which a patient with a dose has.

    Raises:
        DataError: when there is no patient, or two would have one name.
        ConfigError: when the prescription is no dose in Gy.

    """
    prescription = check_given(prescription)
    root = existing_path(dataset_dir, "of the data set")
    patterns = complete_patterns(patterns, own_patterns)
    folders = _folders(root) if root.is_dir() else []
    if not folders:
        raise DataError(f"{root} holds no patient. It must hold {LAYOUT}.")
    remove_workplaces(Path(converted_dir))
    items: list[dict[str, Any]] = []
    unmatched: dict[str, int] = {}
    for number, folder in enumerate(folders, start=1):
        item, others = _as_item(folder, Path(os.path.abspath(converted_dir)), patterns, prescription)
        items.append(item)
        if others is not None:
            logger.info("converted: case %s (%d of %d)", item["case"], number, len(folders))
            for roi in others:
                unmatched[roi] = unmatched.get(roi, 0) + 1
    tell_renamed(items)
    if unmatched:
        listed = [f"{roi} ({count})" for roi, count in sorted(unmatched.items())]
        more = f" and {len(listed) - LISTED} more" if len(listed) > LISTED else ""
        logger.info("ROI names that match no structure (patients): %s%s", ", ".join(listed[:LISTED]), more)
    refuse_same_names([item for item in items if "image" in item], "Rename one of the folders")
    return items


def _folders(root: Path) -> list[Path]:
    """One folder a patient: those in the root, or the root itself."""
    return [root] if is_patient_folder(root) else [p for p in visible(root) if p.is_dir()]


def _as_item(
    folder: Path, converted_dir: Path, patterns: Mapping[str, Sequence[str]], prescription: float | None
) -> tuple[dict[str, Any], list[str] | None]:
    """The patient as an item, and the ROI names that match nothing if it was converted just now."""
    others = None
    item: dict[str, Any] = {"case": folder.name, "source": str(folder)}
    try:
        # NIfTI names no patient: nothing to look for in its files, of which there may be many.
        if is_nifti_patient(folder):
            stated, source = noted_prescription(folder)
            gray = prescription or stated
            if gray is None and is_there(folder / DOSE):
                raise DataError(
                    f"{folder}: the prescription is not known: {source}. Give it in Gy, as --prescription 78."
                )
            decided = f"prescription {gray:g} Gy, {'as given' if prescription else source}" if gray else source
            target, rois = folder, None
            if unknown := other_volumes(folder, patterns):
                logger.warning("case %s: files that are no structure's: %s", item["case"], ", ".join(unknown))
        else:
            item["case"] = case_of_folder(folder)
            target = converted_dir / item["case"]
            provenance = convert_patient(folder, target, patterns)
            others = provenance.get("unmatched")
            rois = unmatched_rois(provenance)
            gray, decided = judge_prescription(folder, provenance, prescription)
        item = _complete(item, target, patterns, rois) | ({"prescription": float(gray)} if gray else {})
        logger.info("case %s: %s", item["case"], decided)
        return item, others
    except DataError as error:
        item["image"] = str(folder)
        return item | {"unusable": without_folder_name(str(error), item)}, others


def _complete(
    item: dict[str, Any], folder: Path, patterns: Iterable[str], rois: Sequence[str] | None
) -> dict[str, Any]:
    item["image"] = str(folder / CT)
    drawn = [name for name in patterns if is_there(folder / f"{name}.nii.gz")]
    if drawn:
        item["segmentation"] = str(folder)
    if is_there(folder / DOSE):
        item["dose"] = str(folder / DOSE)
    if not {"segmentation", "dose"} & item.keys():
        if rois:
            example = pattern_example(next(iter(patterns)), rois[0])
            raise DataError(
                f"{item['source']}: no dose, and no ROI has a name that is known. They are {', '.join(rois)}. Say which"
                f" is which structure, {example}."
            )
        raise DataError(f"{item['source']}: neither structures ({', '.join(patterns)}) nor a dose. Export them.")
    missing = [name for name in patterns if is_target(name) and name not in drawn]
    if warning := unused_targets(missing, rois or ()):
        logger.warning("case %s: %s", item["case"], warning)
    return item
