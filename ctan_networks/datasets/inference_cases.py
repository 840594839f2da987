# SPDX-License-Identifier: Apache-2.0
"""Data lists of CTs to predict on, in whatever form and folders they come."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ctan_networks.data.case_list import Items, existing_path, refuse_same_names, visible
from ctan_networks.data.pseudonyms import tell_renamed
from ctan_networks.datasets.openkbp.data_list import openkbp_case, openkbp_folders
from ctan_networks.datasets.prescriptions import with_prescriptions
from ctan_networks.datasets.stoic.data_list import stoic_folders
from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.nifti_patient import CT, is_nifti_patient
from ctan_networks.radiotherapy.patients import holds_ct, is_patient_folder
from ctan_networks.radiotherapy.pseudonyms import case_of_folder

__all__ = ["inference_list", "prescribed_list"]

logger = logging.getLogger(__name__)

VOLUMES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd")
FORMS = (
    f"a volume ({', '.join(VOLUMES)}), a patient's folder in DICOM (the CT in any files and sub-folders), in NIfTI"
    f" ({CT}) or of OpenKBP (ct.csv), or a folder of such volumes and folders"
)


def inference_list(dataset_dir: str | os.PathLike, split: str | None = None) -> Items:
    """List the CTs to predict on. Labels are neither needed nor looked at.

    Args:
        dataset_dir: one of

            - one case: a volume (NIfTI, MHA, MHD, NRRD), a patient's folder in DICOM (one CT series; scouts, reports,
              images of other modalities, structures, doses and plans may lie beside it, in any sub-folders), in NIfTI
              (``ct.nii.gz``), or of OpenKBP (``ct.csv``);
            - a folder of such volumes and folders, of any of these together;
            - the published OpenKBP folder ``provided-data``, or the folder that holds it: the patients of ``split``, or
              without it those of every split that is there;
            - the published STOIC2021 folder (it holds ``data/mha``), or the folder that holds it.

        split: of OpenKBP: "train", "validation", "test", or the sub-folder's own name.

    Returns:
        One item a case, in natural order, with "case" (name of the file without its suffix, or of the folder, or a
        pseudonym where the folder is named after the patient) and the absolute path "image"; an OpenKBP patient that
        has a possible-dose mask also with its path, "mask".

    Raises:
        DataError: when nothing to predict on is there, or when two cases have one name.

    """
    path = existing_path(dataset_dir, "to predict on")
    folders = openkbp_folders(path, split) or stoic_folders(path)
    items: Items = []
    if not folders:
        entries = visible(path) if path.is_dir() else []
        alone = not any(_as_case(entry, lambda _: False) for entry in entries)
        items = _as_case(path, lambda folder: is_patient_folder(folder, below=alone) and holds_ct(folder))
    if not items:
        items = [item for folder in folders or [path] if folder.is_dir() for item in _cases_inside(folder)]
    if not items:
        raise DataError(f"{path} holds nothing to predict on. Give {FORMS}.")
    tell_renamed(items)
    refuse_same_names(items, "Rename one, or give the split or a single folder")
    return items


def prescribed_list(
    dataset_dir: str | os.PathLike, prescription: float | None = None, split: str | None = None
) -> list[dict[str, Any]]:
    """List the CTs to predict on, with the prescription of each; see :py:func:`with_prescriptions`.

    Args:
        dataset_dir: as of :py:func:`inference_list`.
        prescription: in Gy, of all patients, whatever their plans state; None: what each plan states.
        split: of OpenKBP; None: all that are there.

    Returns:
        One item a case with "case" and "image", and "prescription" in Gy where it is known.

    Raises:
        DataError: when there is no case that can be used, or two have one name.

    """
    return with_prescriptions(inference_list(dataset_dir, split), prescription)


def _cases_inside(folder: Path) -> Items:
    """The entries of a folder that are cases; the others are named in the log, if there are cases."""
    items, ignored = [], []
    for entry in visible(folder):
        found = _as_case(entry, holds_ct)
        items.extend(found)
        if not found:
            ignored.append(entry)
    if items and ignored:
        names = [case_of_folder(entry) if entry.is_dir() else entry.name for entry in ignored]
        logger.warning("no CT, ignored: %s", ", ".join(names))
    return items


def _as_case(path: Path, is_dicom_case: Callable[[Path], bool]) -> Items:
    """The path itself as the only case, or an empty list when it is none."""
    case = openkbp_case(path)
    if case is not None:
        return [case]
    if not path.is_dir():
        suffix = next((s for s in VOLUMES if path.name.lower().endswith(s)), None)
        return [{"case": path.name[: -len(suffix)], "image": str(path)}] if suffix and path.is_file() else []
    if is_nifti_patient(path):
        return [{"case": path.name, "image": str(path / CT)}]
    return [{"case": case_of_folder(path), "image": str(path)}] if is_dicom_case(path) else []
